import { describe, expect, it } from 'vitest';
import { createScriptedFleet, fleetSettings, modelSettings } from '../../test/support/scripted-fleet.ts';
import { createTestPlatform, type TestPlatform } from '../../test/support/test-platform.ts';
import type { FleetEvent } from '../core/events.ts';
import { SECOND } from '../units.ts';
import { HEALTH_EVERY, HealthMonitor } from './health-monitor.ts';

const endpoint = { origin: 'http://127.0.0.1:20001', pathPrefix: '', pid: 1, container: null };
const replica = (id: string) => ({ id, generation: 1 });

function bench() {
  const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
  const runtime = fleet.runtimes.of('a');
  if (!runtime) throw new Error('no runtime');
  const platform = createTestPlatform();
  const reports: FleetEvent[] = [];
  const monitor = new HealthMonitor({ platform, post: (event) => void reports.push(event), leasesOf: () => 0 });
  const watch = (id: string): void => monitor.watch(replica(id), endpoint, runtime, { moved: false });
  return { monitor, platform, reports, watch, flush: fleet.flush };
}

/** Every question from now on waits until it is let go. */
function holdAnswers(platform: TestPlatform): () => void {
  const held: (() => void)[] = [];
  platform.http.answer = () => new Promise((resolve) => held.push(() => resolve({ status: 200, body: '' })));
  return () => {
    platform.http.answer = () => ({ status: 200, body: '' });
    for (const answer of held.splice(0)) answer();
  };
}

describe('the health rounds', () => {
  it('stay one in five seconds when all replicas leave and others come during a look', async () => {
    const { monitor, platform, reports, watch, flush } = bench();
    const letGo = holdAnswers(platform);
    watch('one');
    platform.clock.advance(1.2 * HEALTH_EVERY);
    monitor.unwatch('one');
    watch('two');
    letGo();
    await flush();
    for (let second = 0; second < 60; second += 1) {
      platform.clock.advance(SECOND);
      await flush();
    }
    expect(reports.length).toBeLessThanOrEqual(14);
    expect(reports.length).toBeGreaterThanOrEqual(9);
    expect(platform.clock.pending).toBe(1);
  });

  it('are over for good when the monitor is closed during a look', async () => {
    const { monitor, platform, watch, flush } = bench();
    const letGo = holdAnswers(platform);
    watch('one');
    platform.clock.advance(1.2 * HEALTH_EVERY);
    monitor.close();
    letGo();
    await flush();
    expect(platform.clock.pending).toBe(0);
  });
});
