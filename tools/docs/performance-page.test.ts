import { describe, expect, it } from 'vitest';
import { GOALS } from '../bench/goals.ts';
import type { Run } from '../bench/record.ts';
import type { Sample } from '../bench/rounds.ts';
import { performancePage } from './performance-page.ts';
import { performancePlots } from './performance-plots.ts';
import { restOf } from './performance-rest.ts';

const PLACE = { date: '2026-01-01', commit: 'abc', node: 'v20', cores: 2, load_average: 0.1 };
const sample = (target: string, workload: string, cost: number, round = 0): Sample => ({
  ...{ target, workload, cost, round, disturbed: false, units: 1, carried: 1 },
  ...{ p50: 0.4, p99: 20, loop: null, foreign: 0, stolen: 0 },
});

const run = (ours: number): Run => ({
  ...PLACE,
  ...{ command: 'npm run bench', rounds: 2, seconds: 1 },
  targets: [
    { name: 'vllm-gateway', readsBody: true, ours: true },
    { name: 'nginx', readsBody: false, ours: false },
  ],
  workloads: [{ id: 'W3', title: 'paced', unit: 'µs per event' }],
  samples: [0, 1].flatMap((round) => [sample('vllm-gateway', 'W3', ours, round), sample('nginx', 'W3', 10, round)]),
});

const paged = (ours: number): string => performancePage({ run: run(ours), pairs: undefined, profiled: undefined });

describe('docs/performance.md', () => {
  it('ticks the limits that are kept and says of the rest where it goes', () => {
    expect(paged(20)).toContain('| W3, × nginx | **2.00** (2.00–2.00) | 2.60 ✓ | 2.40 ✓ | 1.44 | 1.60 |');
    expect(paged(20)).toContain('- **W3, × nginx:** ');
    expect(paged(14)).toContain('| W3, × nginx | **1.40** (1.40–1.40) | 2.60 ✓ | 2.40 ✓ | 1.44 ✓ | 1.60 ✓ |');
    expect(paged(14)).not.toContain('- **W3, × nginx:** ');
  });

  it('shows a limit that is missed as plainly as one that is kept', () => {
    expect(paged(40)).toContain('| W3, × nginx | **4.00** (4.00–4.00) | 2.60 | 2.40 | 1.44 | 1.60 |');
    expect(paged(40)).toContain('| W3, 99th percentile, ms | **20.0** (20.0–20.0) | 10.0 | 6.00 | 1.90 | 3.00 |');
    expect(paged(40)).toContain('costs 2.76 of what they do, which is more');
  });

  it('knows where the rest goes of every figure that somebody else was better at', () => {
    expect(GOALS.filter((goal) => goal.ahead !== null && restOf(goal) === '')).toEqual([]);
  });

  it('draws plots of what was measured, and none of what was not', () => {
    expect(performancePlots(undefined)).toEqual({});
    const svg = performancePlots(run(20))['docs/images/performance-cost.svg']?.() ?? '';
    expect(svg).toContain('>2.00</text>');
  });
});
