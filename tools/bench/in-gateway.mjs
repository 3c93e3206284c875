/**
 * Loaded into a measured gateway (`node --import`): tells its parent, over their channel, how late the event loop was since it
 * was last asked. One question, `loop`, one answer, `{ p99, max }` in milliseconds.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import process from 'node:process';

/** Milliseconds between two looks; Node counts them in. */
const RESOLUTION = 10;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION });
delay.enable();

process.on('message', (message) => {
  if (message !== 'loop') return;
  const late = (nanoseconds) => (delay.count === 0 ? 0 : Math.max(0, nanoseconds / 1e6 - RESOLUTION));
  process.send?.({ p99: late(delay.percentile(99)), max: late(delay.max) });
  delay.reset();
});
// Does not keep the program alive.
process.channel?.unref();
