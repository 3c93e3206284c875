/** A fault of ours in one request: it is told as far as that can still be done, and is nobody else's. */
import { gatewayError, type GatewayError } from '../errors.ts';
import type { Logger } from '../telemetry/telemetry.ts';

export interface Faulty {
  /** Tells its client in the way that is still possible. */
  fail(error: GatewayError): void;
  /** Without a word. */
  giveUp(error: GatewayError): void;
}

export function tellFault(fault: unknown, log: Pick<Logger, 'error'>, id: string, request: Faulty): void {
  log.error({ err: fault, id }, 'a request failed in the gateway');
  const error = gatewayError('internal_error', 'The gateway failed on this request.');
  try {
    request.fail(error);
  } catch (again) {
    log.error({ err: again, id }, 'the fault cannot be told to the client');
    request.giveUp(error);
  }
}
