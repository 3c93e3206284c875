import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { GatewayError } from '../errors.ts';
import { MIB } from '../units.ts';
import { BodyBudget } from './body-budget.ts';
import { Intake } from './intake.ts';
import { JsonBody } from './json-body.ts';
import { SMALL_BODY } from './limits.ts';
import type { TurnAllowance } from './turn-allowance.ts';

const text = JSON.stringify({ model: 'tiny', filling: 'x'.repeat(SMALL_BODY) });

function begun() {
  const request = new Readable({ read: () => undefined });
  const due: (() => void)[] = [];
  const turns = { isSpent: false, spend: () => undefined, later: (run: () => void) => due.push(run) };
  const told: (GatewayError | null)[] = [];
  const intake = new Intake({
    request: request as unknown as IncomingMessage,
    body: new JsonBody(),
    world: { budget: new BodyBudget(() => MIB), turns: turns as unknown as TurnAllowance },
    maxBodySize: MIB,
    startedAt: 0,
    done: (error) => told.push(error),
  });
  return { request, turns, due, told, intake };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function endInASpentTurn(request: Readable, turns: { isSpent: boolean }, last: string): Promise<void> {
  request.push(text.slice(0, -last.length));
  await turn();
  turns.isSpent = true;
  request.pause();
  request.push(last);
  request.push(null);
  request.resume();
  await turn();
}

describe('a body whose last bytes wait for a turn of the loop', () => {
  // Node tells the end of a stream before it hands over the last of what it holds, whoever pauses it then.
  it('is judged when they were looked at, although its end is told before', async () => {
    const { request, turns, due, told } = begun();
    await endInASpentTurn(request, turns, text.slice(-2));
    expect([told, due.length]).toEqual([[], 1]);
    due[0]?.();
    await turn();
    expect(told).toEqual([null]);
  });

  it('is done once when they are what is wrong with it', async () => {
    const { request, turns, due, told } = begun();
    await endInASpentTurn(request, turns, ']]');
    due[0]?.();
    await turn();
    expect(told).toMatchObject([{ code: 'invalid_json' }]);
  });

  it('is nobody’s when its client left meanwhile', async () => {
    const { request, turns, due, told, intake } = begun();
    await endInASpentTurn(request, turns, text.slice(-2));
    intake.stop();
    due[0]?.();
    await turn();
    expect(told).toEqual([]);
  });
});

describe('a body that is small', () => {
  it('is looked at in a turn that is spent', async () => {
    const { request, turns, due, told } = begun();
    turns.isSpent = true;
    request.push('{"model":"tiny"}');
    request.push(null);
    await turn();
    expect([told, due.length]).toEqual([[null], 0]);
  });
});
