/**
 * How fast this machine is just now, in the same currency as the simulation: strings, maps and small objects. A figure of the
 * same run makes figures of the simulation comparable between machines, and between busy hours and quiet ones.
 */

const LOOPS = 400_000;
const ROUNDS = 5;

/** Of processor time; the best of some rounds. */
export function loopsPerSecond(): number {
  let best = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const started = process.cpuUsage();
    const checksum = loop(LOOPS);
    const { user, system } = process.cpuUsage(started);
    if (checksum < 0) throw new Error('the calibration counts backwards');
    best = Math.max(best, LOOPS / ((user + system) / 1e6));
  }
  return best;
}

function loop(rounds: number): number {
  const counts = new Map<string, { count: number }>();
  let value = 1;
  let checksum = 0;
  for (let round = 0; round < rounds; round += 1) {
    value = Math.imul(value ^ round, 16777619);
    const key = `k${value & 1023}`;
    const entry = counts.get(key);
    if (entry) entry.count += 1;
    else counts.set(key, { count: 1 });
    if ((value & 15) === 0) counts.delete(key);
    checksum += counts.size;
  }
  return checksum;
}
