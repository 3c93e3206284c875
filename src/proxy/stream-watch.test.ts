import fc from 'fast-check';
import { expect, it } from 'vitest';
import { StreamWatch } from './stream-watch.ts';

const pieces = fc.constantFrom(
  ...['data: [DONE]', 'data:[DONE]', 'data:  [DONE]', '[DONE]', 'data: ', '\n', '\r', '\n\n', ' ', '\t', 'x', '"'],
  ...[
    '"usage":{',
    '"usage": {',
    '"usage":null',
    '"usage":  {',
    '"usage":',
    '"prompt_tokens": 7',
    '"output_tokens":12,',
  ],
  ...['{"error":{', '{ "error": "', '"error"', '"finish_reason":"abort"', '"finish_reason": "abort"', '"abort"'],
);

/** By expressions over the whole, as slow as they are plain. */
function plainly(text: string): unknown {
  const usage = /^[^]*("usage": ?\{[^]*)$/.exec(text)?.[1];
  const count = (pattern: RegExp): number | null => {
    const digits = usage === undefined ? undefined : pattern.exec(usage)?.[1];
    return digits === undefined ? null : Number(digits);
  };
  return {
    terminal: /(?:^|[\r\n])data: ?\[DONE\][ \t]*(?:[\r\n]|$)/.test(text),
    failed: /(?:^|[\r\n])data: ?\{ ?"error" ?: ?[{"]/.test(text) || /"finish_reason": ?"abort"/.test(text),
    usage: {
      promptTokens: count(/"(?:prompt|input)_tokens": ?(\d+)/),
      completionTokens: count(/"(?:completion|output)_tokens": ?(\d+)/),
    },
  };
}

it('finds of an end what plain expressions find in it', () => {
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 14 }), fc.nat(200), (parts, cut) => {
      const text = parts.join('');
      const watch = new StreamWatch('chat');
      watch.push(Buffer.from(text.slice(0, cut)));
      watch.push(Buffer.from(text.slice(cut)));
      expect(watch.streamEnding()).toEqual(plainly(text));
    }),
    { numRuns: 3_000 },
  );
});

it('takes little time for an end that repeats what marks one', () => {
  const watch = new StreamWatch('chat');
  watch.push(Buffer.from('[DONE] "usage":'.repeat(20_000)));
  const began = process.cpuUsage();
  expect(watch.streamEnding().terminal).toBe(false);
  expect(process.cpuUsage(began).user / 1_000).toBeLessThan(100);
});
