import { EventEmitter, once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { openLineStream } from './line-stream.ts';

async function* broken(): AsyncGenerator<string> {
  yield 'one';
  throw new Error('the file cannot be read on');
}

describe('lines as a body', () => {
  it('end where their source breaks off, which is told once', async () => {
    const failures: unknown[] = [];
    const body = openLineStream(
      broken(),
      () => undefined,
      (error) => failures.push(error),
    );
    expect(await new Response(body).text()).toBe('one\n');
    expect(failures).toMatchObject([{ message: 'the file cannot be read on' }]);
  });

  it('are no failure when the client leaves while their source waits', async () => {
    const gate = new EventEmitter();
    const waiting = once(gate, 'waiting');
    const over = once(gate, 'over');
    async function* followed(): AsyncGenerator<string> {
      yield 'one';
      const left = once(gate, 'left');
      gate.emit('waiting');
      await left;
      gate.emit('over');
    }
    const failures: unknown[] = [];
    const reader = openLineStream(
      followed(),
      () => gate.emit('left'),
      (error) => failures.push(error),
    ).getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe('one\n');
    await waiting;
    await reader.cancel();
    await over;
    // What the end of the source sets off has run by then.
    await new Promise((resolve) => setImmediate(resolve));
    expect(failures).toEqual([]);
  });
});
