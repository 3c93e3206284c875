import { engineDead, openaiError, pythonJson, type RequestError } from './errors.ts';
import type { Exchange } from './exchange.ts';

/**
 * One event stream: every event is an HTTP chunk of its own. The faults that break a stream off are applied here, by
 * the number of events sent.
 */
export class EventStream {
  private readonly x: Exchange;
  private readonly dialect: 'openai' | 'responses' | 'messages';
  private sent = 0;
  private bytes = 0;
  private over = false;
  private stop: (() => void) | undefined;

  /** Only the OpenAI dialect ends with `[DONE]`; the others carry event names. */
  constructor(x: Exchange, dialect: 'openai' | 'responses' | 'messages') {
    this.x = x;
    this.dialect = dialect;
  }

  /** Sends the head: before scheduling, so that a queued stream has its headers long before its first event. */
  open(): void {
    this.x.head(200, [], 'text/event-stream; charset=utf-8', 'chunked');
    this.x.res.flushHeaders();
  }

  /** What to call when a fault ends the stream early: frees the engine's slot. */
  onCut(stop: () => void): void {
    this.stop = stop;
  }

  get closed(): boolean {
    return this.over || this.x.gone;
  }

  send(data: string, name?: string): void {
    if (this.closed || this.interrupted()) return;
    this.sent += 1;
    this.write(name === undefined ? `data: ${data}\n\n` : `event: ${name}\ndata: ${data}\n\n`);
  }

  /** The end of a whole answer. */
  finish(): void {
    if (this.closed || this.interrupted()) return;
    this.over = true;
    if (this.dialect === 'openai' && !this.x.faults.has('missing_done')) this.write('data: [DONE]\n\n');
    this.end();
  }

  /** An error after the head: a frame, then `[DONE]` as if all were well. Responses are simply cut off. */
  fail(error: RequestError): void {
    if (this.closed) return;
    if (this.dialect === 'responses' && this.sent > 0) {
      this.breakOff();
      return;
    }
    this.over = true;
    if (this.dialect === 'messages') {
      const type = error.status === 500 ? 'internal_error' : error.type;
      const body = JSON.stringify({ type: 'error', error: { type, message: error.message } });
      this.write(`event: error\ndata: ${body}\n\n`);
    } else {
      this.write(`data: ${pythonJson(openaiError(error))}\n\n`);
      this.write('data: [DONE]\n\n');
    }
    this.end();
  }

  /** Breaks off without a word: a body cut by FIN, its last chunk missing. */
  breakOff(politely = true): void {
    this.over = true;
    this.stop?.();
    this.x.cut(politely);
  }

  private interrupted(): boolean {
    const { faults } = this.x;
    if (this.sent === faults.number('cut_after', 1)) this.breakOff(true);
    else if (this.sent === faults.number('rst_after', 1)) this.resetSoon();
    else if (this.sent === faults.number('error_frame_after', 1)) {
      this.stop?.();
      this.fail(engineDead());
    }
    return this.over;
  }

  /** A reset may overtake bytes still in the kernel: it waits until they were handed over. */
  private resetSoon(): void {
    this.over = true;
    this.stop?.();
    setTimeout(() => this.x.cut(false), 20);
  }

  private write(frame: string): void {
    this.bytes += frame.length;
    this.x.res.write(frame);
  }

  private end(): void {
    this.x.count(200, this.bytes);
    this.x.res.end();
  }
}
