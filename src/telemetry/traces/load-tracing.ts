/** Loads the SDK and puts it between requests and the log, the counters and the clock of this telemetry. */
import type { Clock, Random } from '../../platform/platform.ts';
import { MINUTE, type Milliseconds } from '../../units.ts';
import type { Logger } from '../telemetry.ts';
import type { TraceSettings, Tracing } from '../tracing.ts';

export interface TracingSurroundings {
  readonly version: string;
  readonly gatewayId: string;
  readonly random: Random;
}

export interface TracingOutputs {
  readonly log: Logger;
  readonly clock: Clock;
  readonly dropped: (spans: number) => void;
  readonly safe: (text: string) => string;
}

/** A collector that is down is told once, and then so often. */
const TELL_EVERY: Milliseconds = MINUTE;

export async function loadTracing(
  settings: TraceSettings,
  surroundings: TracingSurroundings,
  { log, clock, dropped, safe }: TracingOutputs,
): Promise<Tracing> {
  const { openTracing } = await import('./open-tracing.ts');
  let toldAt = -Infinity;
  let untold = 0;
  return openTracing({
    settings,
    ...surroundings,
    clock,
    dropped,
    failed: (reason, spans) => {
      untold += spans;
      const now = clock.monotonic();
      if (now - toldAt < TELL_EVERY) return;
      toldAt = now;
      log.warn({ reason, spans: untold }, 'spans could not be sent to the collector of traces and are lost');
      untold = 0;
    },
    safe,
  });
}
