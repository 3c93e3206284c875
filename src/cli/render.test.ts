import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { ReplicaStatus } from '../admin/contract.ts';
import { readEvents } from './sse.ts';
import { preparationText, progressText } from './render-status.ts';
import { plain, renderTable } from './table.ts';
import { renderTree } from './tree.ts';
import { mibText, spanText } from './words.ts';

const REPLICA: ReplicaStatus = {
  ...{ model: 'llama', generation: 1, state: 'starting', phase: null, progress: null, eta_s: null, devices: [] },
  ...{
    memory: {},
    reserved_mib: 0,
    measured: false,
    leases: 0,
    pid: null,
    container: null,
    adopted: false,
    stop_reason: null,
  },
  ...{ started_at: null, ready_at: null },
};

describe('rendering', () => {
  it('pads columns and leaves empty ones out', () => {
    const cells = (...texts: string[]) => texts.map(plain);
    expect(renderTable(cells('A', 'EMPTY', 'C'), [cells('long one', '', 'x'), cells('b', '', 'yy')])).toBe(
      'A         C\nlong one  x\nb         yy',
    );
  });

  it.each([
    [0, '0s'],
    [59_400, '59s'],
    [60_000, '1m'],
    [192_000, '3m 12s'],
    [7_500_000, '2h 5m'],
    [7_200_000, '2h'],
  ])('%i ms is %s', (span, text) => {
    expect(spanText(span)).toBe(text);
  });

  it('says how far a start is, its files first [item 166]', () => {
    const since = '2026-01-01T00:00:00.000Z';
    expect(preparationText({ phase: 'weights', progress: 0.456, since, eta_s: 130 })).toBe(
      'weights 46 %, about 2m 10s left',
    );
    expect(preparationText({ phase: 'image', progress: null, since, eta_s: null })).toBe('image');
    const replica = { state: 'reserved', phase: null, progress: null, eta_s: null } as const;
    expect(progressText({ ...REPLICA, ...replica })).toBe('waiting for its turn');
    expect(progressText({ ...REPLICA, state: 'starting', phase: 'graphs', progress: 0.5, eta_s: 4 })).toBe(
      'graphs 50 %, about 4s left',
    );
    expect(progressText({ ...REPLICA, state: 'starting', phase: 'serve', eta_s: 0.2 })).toBe('serve, about 1s left');
    expect(progressText({ ...REPLICA, ...replica, eta_s: 41 })).toBe('waiting for its turn, about 41s left');
  });

  it('says MiB and GiB', () => {
    expect([mibText(512), mibText(21.5 * 1024)]).toEqual(['512MiB', '21.5GiB']);
  });

  it('writes a tree that YAML reads back', () => {
    const value = {
      a: { b: 'plain', c: 'yes', d: '*', e: [1, 'x: y', null], f: {}, g: '10', h: 'a#b', 'k e': true },
      z: null,
    };
    expect(parse(renderTree(value))).toEqual(value);
  });

  it('reads events however they are cut', async () => {
    const text = 'retry: 1\n\n: beat\n\nevent: a\ndata: {"x":1}\n\nid: 3\nevent: b\ndata: 1\ndata: 2\n\n';
    for (const size of [1, 2, 5, 100]) {
      const pieces = (async function* () {
        for (let at = 0; at < text.length; at += size) yield text.slice(at, at + size);
      })();
      const events = [];
      for await (const event of readEvents(pieces)) events.push(event);
      expect(events).toEqual([
        { event: 'a', data: '{"x":1}' },
        { event: 'b', data: '1\n2' },
      ]);
    }
  });
});
