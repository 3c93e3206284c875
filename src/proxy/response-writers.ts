/** Which way answers are written: straight to the socket where this Node lets us, else by its own response object. */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { httpDate } from '../platform/http-date.ts';
import type { Platform } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { SECOND } from '../units.ts';
import { socketWriterWorks } from './response-writer-check.ts';
import { NodeResponseWriter, type ResponseWriter } from './response-writer.ts';
import { SocketResponseWriter } from './socket-response-writer.ts';
import { WriteGatherer } from './write-gatherer.ts';

export class ResponseWriters {
  private readonly platform: Platform;
  private readonly log: Logger;
  private readonly gatherer: WriteGatherer;
  private toSocket = false;
  private checked: Promise<void> | null = null;
  private second = -1;
  private dateText = '';

  constructor(platform: Platform, log: Logger) {
    this.platform = platform;
    this.log = log;
    this.gatherer = new WriteGatherer(platform.clock);
  }

  /** Before the first request: tries which way works. */
  check(): Promise<void> {
    this.checked ??= socketWriterWorks(this.platform.clock).then((works) => {
      this.toSocket = works;
      if (!works) this.log.warn({}, 'this version of Node is not known: answers are written in its own, slower way');
    });
    return this.checked;
  }

  for(response: ServerResponse, socket: Socket): ResponseWriter {
    if (!this.toSocket) return new NodeResponseWriter(response, socket);
    return new SocketResponseWriter({ response, socket, gatherer: this.gatherer, date: this.date });
  }

  /** Made anew once a second. */
  private readonly date = (): string => {
    const wall = this.platform.clock.wall();
    const second = Math.floor(wall / SECOND);
    if (second !== this.second) {
      this.second = second;
      this.dateText = httpDate(wall);
    }
    return this.dateText;
  };
}
