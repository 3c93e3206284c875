/** A request's body while it arrives: checked, the model's name found, ready to be sent on with it replaced. */
import type { GatewayError } from '../errors.ts';

export interface RequestBody {
  /** Bytes received so far. */
  readonly size: number;
  /** What is wrong with the body, as soon as it is known. */
  add(chunk: Buffer): GatewayError | null;
  /** The body is complete. */
  finish(): GatewayError | null;
  /** Only after finish() found nothing wrong. */
  readonly model: string;
  /** The client asked for a stream. */
  readonly stream: boolean;
  /** What goes to the engine. */
  render(servedName: string, defaults: ReadonlyMap<string, string>): Buffer | readonly Buffer[];
  /** Lets go of the bytes: nothing will be sent (again). */
  drop(): void;
}

/** Is this a name that a client may use at all? The table of models decides whether it is known. */
export function isUsableName(name: string): boolean {
  return name.length > 0 && name.length <= 256;
}
