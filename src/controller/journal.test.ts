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

  it('warns in the log of what went wrong, and only of that', () => {
    const levels: string[] = [];
    const write = (level: string) => (fields: object) => void levels.push(`${level} ${Reflect.get(fields, 'event')}`);
    const journal = new Journal(new VirtualClock(), { ...silentLog, info: write('info'), warn: write('warn') });
    for (const kind of ['replica.ready', 'replica.start_failed', 'replica.crashed']) journal.add(decision(kind));
    expect(levels).toEqual(['info replica.ready', 'warn replica.start_failed', 'warn replica.crashed']);
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
