import { describe, expect, it } from 'vitest';
import { silentLog } from '../../test/support/scripted-fleet.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { Journal } from './journal.ts';

const decision = (kind: string) => ({ kind, model: 'a', replica: null, reason: 'Because.' });

describe('the journal', () => {
  it('keeps the last thousand decisions, numbered from one', () => {
    const journal = new Journal(new VirtualClock(), silentLog);
    for (let index = 0; index < 1_500; index += 1) journal.add(decision('model.waiting'));
    const kept = journal.recent();
    expect([kept.length, kept[0]?.seq, kept.at(-1)?.seq]).toEqual([1_000, 501, 1_500]);
  });

  it('tells every listener until it leaves, also when another one fails', () => {
    const journal = new Journal(new VirtualClock(), silentLog);
    const told: number[] = [];
    journal.subscribe(() => {
      throw new Error('its stream is broken');
    });
    const subscription = journal.subscribe(({ seq }) => told.push(seq));
    journal.add(decision('replica.ready'));
    journal.add(decision('replica.idle'));
    subscription[Symbol.dispose]();
    journal.add(decision('replica.gone'));
    expect(told).toEqual([1, 2]);
  });
});
