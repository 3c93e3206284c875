/** Takes in one request's body: bounded, charged to the common budget as it arrives, checked while it arrives. */
import type { IncomingMessage } from 'node:http';
import { gatewayError, type GatewayError } from '../errors.ts';
import { formatSize, SECOND, type Bytes, type Milliseconds } from '../units.ts';
import type { BodyBudget } from './body-budget.ts';
import type { Endpoint } from './endpoints.ts';
import { JsonBody } from './json-body.ts';
import { BODY_GRACE, BODY_RATE, SMALL_BODY } from './limits.ts';
import { boundaryOf, MultipartBody } from './multipart.ts';
import type { RequestBody } from './request-body.ts';
import type { TurnAllowance } from './turn-allowance.ts';

/** What the head alone says against the body; null = it may come. */
export function checkBodyHead(request: IncomingMessage, maxBodySize: Bytes): GatewayError | null {
  const coding = request.headers['content-encoding'];
  if (coding !== undefined && coding.trim().toLowerCase() !== 'identity' && coding.trim() !== '') {
    return gatewayError('unsupported_media_type', 'Compressed request bodies are not accepted; send it as it is.');
  }
  return Number(request.headers['content-length'] ?? 0) > maxBodySize ? tooLarge(maxBodySize) : null;
}

export function bodyFor(endpoint: Endpoint, contentType: string): RequestBody | GatewayError {
  const isForm = /^\s*multipart\//i.test(contentType);
  if (endpoint.body === 'json') {
    return isForm
      ? gatewayError('unsupported_media_type', 'This route takes a JSON body, not multipart; send application/json.')
      : new JsonBody();
  }
  const boundary = boundaryOf(contentType);
  return boundary === undefined
    ? gatewayError('invalid_body', 'This route takes multipart/form-data with a boundary.')
    : new MultipartBody(boundary);
}

function tooLarge(maxBodySize: Bytes): GatewayError {
  return gatewayError('request_too_large', `The request body is larger than ${formatSize(maxBodySize)}.`);
}

export interface IntakeOptions {
  readonly request: IncomingMessage;
  readonly body: RequestBody;
  readonly world: { readonly budget: BodyBudget; readonly turns: TurnAllowance };
  readonly maxBodySize: Bytes;
  readonly startedAt: Milliseconds;
  /** Once: null = complete and sound. */
  readonly done: (error: GatewayError | null) => void;
}

export class Intake {
  private readonly options: IntakeOptions;
  private over = false;
  private charged: Bytes = 0;
  /** Received and charged, not looked at yet: this turn of the loop has seen enough. */
  private unseen: Buffer | null = null;
  /** Its end was told before the last of it was looked at: Node does that whoever pauses the stream in its last bytes. */
  private ended = false;

  constructor(options: IntakeOptions) {
    this.options = options;
    options.request.on('data', this.onData);
    options.request.on('end', this.onEnd);
  }

  /** A body that trickles in is given up: it may hold memory, not for ever. */
  isLate(now: Milliseconds): boolean {
    const allowance = BODY_GRACE + (this.options.body.size / BODY_RATE) * SECOND;
    return !this.over && now - this.options.startedAt > allowance;
  }

  /** Stops listening; what was received stays charged. */
  stop(): void {
    this.over = true;
    this.options.request.off('data', this.onData);
    this.options.request.off('end', this.onEnd);
    if (this.unseen === null) return;
    // Whatever is still to come is somebody else's to read or to throw away.
    this.unseen = null;
    this.options.request.resume();
  }

  /** The bytes are not needed any more. Idempotent. */
  discharge(): void {
    this.options.world.budget.give(this.charged);
    this.charged = 0;
    this.options.body.drop();
  }

  private readonly onData = (chunk: Buffer): void => {
    const { request, body, world, maxBodySize } = this.options;
    const { budget, turns } = world;
    if (body.size + chunk.length > maxBodySize) {
      this.finish(tooLarge(maxBodySize));
    } else if (!budget.take(chunk.length)) {
      this.finish(gatewayError('server_busy', 'The gateway holds as many request bodies as it may; try again soon.'));
    } else {
      this.charged += chunk.length;
      if (!turns.isSpent || body.size < SMALL_BODY) {
        this.lookAt(chunk);
      } else {
        this.unseen = chunk;
        request.pause();
        turns.later(this.goOn);
      }
    }
  };

  private readonly goOn = (): void => {
    const chunk = this.unseen;
    if (chunk === null) return;
    this.unseen = null;
    this.lookAt(chunk);
    if (this.ended) this.onEnd();
    else this.options.request.resume();
  };

  private lookAt(chunk: Buffer): void {
    const { body, world } = this.options;
    const problem = body.add(chunk);
    if (body.size > SMALL_BODY) world.turns.spend(chunk.length);
    if (problem !== null) this.finish(problem);
  }

  private readonly onEnd = (): void => {
    if (this.over) return;
    if (this.unseen === null) this.finish(this.options.body.finish());
    else this.ended = true;
  };

  private finish(error: GatewayError | null): void {
    this.stop();
    this.options.done(error);
  }
}
