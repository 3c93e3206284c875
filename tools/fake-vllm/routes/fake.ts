import { type Json, isObject } from '../body.ts';
import { badRequest } from '../errors.ts';
import type { Exchange } from '../exchange.ts';

/** Takes the faults a request asks for itself; the rest of `fake` is read with the sampling parameters. */
export function applyFake(x: Exchange, body: Json): void {
  const fake = isObject(body['fake']) ? body['fake'] : {};
  const fault = fake['fault'];
  if (typeof fault !== 'string') return;
  try {
    x.faults = x.app.faults.with(fault);
  } catch (error) {
    throw badRequest(error instanceof Error ? error.message : String(error), 'fake');
  }
}
