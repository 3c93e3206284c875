import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { fetchFailureText, FetchProgress, withoutPaths } from './fetch-progress.ts';

function fractionOf(...lines: string[]): number | null {
  const progress = new FetchProgress(new VirtualClock(), () => {});
  for (const line of lines) progress.line(line);
  return progress.fraction();
}

describe('how far a download is', () => {
  it('is unknown until a bar is drawn', () => {
    expect(fractionOf('Downloading to /root/.cache', '50% of people like bars')).toBeNull();
  });

  it('is what the bar over all files says, with the parts of those under way', () => {
    expect(fractionOf('Fetching 4 files:  25%|##5       | 1/4 [00:10<00:30, 10s/it]')).toBe(0.25);
    expect(
      fractionOf(
        'Fetching 4 files:  50%|#####     | 2/4 [00:10<00:10,  5s/it]',
        'model-00001-of-00002.safetensors:  50%|#####     | 2.5G/5.0G [00:12<00:12, 200MB/s]',
        'config.json: 100%|##########| 1.2k/1.2k',
      ),
    ).toBe(0.625);
  });

  it('is the middle of all bars where there is none over all of them', () => {
    expect(fractionOf('a.bin:  20%|##        | 1/5', 'b.bin: 100%|##########| 5/5')).toBeCloseTo(0.6);
    expect(fractionOf('a.bin:  20%|##        | 1/5', 'a.bin:  80%|########  | 4/5')).toBeCloseTo(0.8);
  });

  it('is told at most four times a second, however often bars are drawn', () => {
    const clock = new VirtualClock();
    const told: (number | null)[] = [];
    const progress = new FetchProgress(clock, (_phase, fraction) => told.push(fraction));
    for (let percent = 0; percent <= 100; percent += 1) {
      progress.line(`a:  ${percent}%|#| 1/1`);
      clock.advance(10);
    }
    expect(told).toEqual([0, 0.25, 0.5, 0.75, 1]);
  });
});

describe('why a download failed', () => {
  it.each([
    [['Traceback', 'OSError: [Errno 28] No space left on device', '  warnings.warn('], /No space left/],
    [
      ['x', 'Repository Not Found for url: https://hub.example/api/models/a/b.'],
      /https:\/\/hub\.example\/api\/models\/a\/b/,
    ],
    [['token hf_abcdefghijklmnop was denied'], /^token hf_… was denied$/],
    [['Permission denied: /root/.cache/huggingface/hub/x.lock'], /^Permission denied: …\/x\.lock$/],
    [['all quiet', 'a:  20%|##   | 1/5'], /^all quiet$/],
    [[], /said nothing/],
  ])('is in its last words: %j', (lines, expected) => {
    expect(fetchFailureText(lines)).toMatch(expected);
  });

  it('is told in bounded length', () => {
    expect(fetchFailureText([`error ${'x'.repeat(10_000)}`]).length).toBeLessThan(500);
  });

  it('names no folder of the machine', () => {
    expect(withoutPaths('a /b/c/d.txt, "/e/f" and /g')).toBe('a …/d.txt, "…/f" and /g');
    expect(withoutPaths('http://a.b/c/d and org/model/x')).toBe('http://a.b/c/d and org/model/x');
  });
});
