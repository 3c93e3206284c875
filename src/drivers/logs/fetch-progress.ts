/** What the output of a download says of how far it is: progress bars as tqdm draws them. */
import type { Clock } from '../../platform/platform.ts';
import type { Milliseconds } from '../../units.ts';
import type { FetchOptions } from '../driver.ts';

/** A bar redraws itself ten times a second, and there are many of them. */
const TELL_EVERY: Milliseconds = 250;
/** Bars whose names are remembered: a repository has tens of files, not thousands. */
const MAX_BARS = 1_000;
/** Longest part of a failure's text that is handed on. */
const MAX_TEXT = 400;

/** `model-00001.safetensors:  45%|####5     | 2.25G/4.98G [00:12<00:15, 180MB/s]` */
const BAR = /^(.*?):?\s*(\d{1,3}(?:\.\d+)?)%\|/;
/** `Fetching 7 files:  43%|####3     | 3/7 [00:10<00:13,  3.4s/it]`: the bar over all of them. */
const OVER_ALL = /^fetching (\d+) files?/i;

export class FetchProgress {
  readonly #clock: Clock;
  readonly #tell: FetchOptions['progress'];
  readonly #bars = new Map<string, number>();
  #files: number | null = null;
  #filesDone = 0;
  #toldAt: Milliseconds = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, tell: FetchOptions['progress']) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** Every line proves that the download lives, whether it says how far it is or not. */
  line(text: string): void {
    this.#read(text.trim());
    const now = this.#clock.monotonic();
    if (now < this.#toldAt + TELL_EVERY) return;
    this.#toldAt = now;
    this.#tell('weights', this.fraction());
  }

  /** In [0, 1]; null as long as no bar was seen. */
  fraction(): number | null {
    const open = [...this.#bars.values()].filter((done) => done < 1);
    if (this.#files !== null && this.#files > 0) {
      const done = this.#filesDone + open.reduce((sum, part) => sum + part, 0);
      return Math.min(1, done / this.#files);
    }
    if (this.#bars.size === 0) return null;
    const sum = [...this.#bars.values()].reduce((total, part) => total + part, 0);
    return sum / this.#bars.size;
  }

  #read(text: string): void {
    const bar = BAR.exec(text);
    if (bar === null) return;
    const [, name = '', percent = '0'] = bar;
    const part = Math.min(1, Number(percent) / 100);
    const over = OVER_ALL.exec(name);
    if (over === null) {
      if (this.#bars.has(name) || this.#bars.size < MAX_BARS) this.#bars.set(name, part);
      return;
    }
    this.#files = Number(over[1]);
    this.#filesDone = Math.round(part * this.#files);
  }
}

const TELLING = /error|exception|denied|not found|no space|cannot|failed|unauthori[sz]ed|refused/i;

/** The line that says most of why a download failed; without secrets and without folders of the machine. */
export function fetchFailureText(lines: readonly string[]): string {
  const said = lines.map((line) => line.trim()).filter((line) => line !== '' && !BAR.test(line));
  const line = said.findLast((text) => TELLING.test(text)) ?? said.at(-1) ?? 'it said nothing';
  const safe = withoutPaths(line.replace(/\bhf_[A-Za-z0-9]{8,}/g, 'hf_…'));
  return safe.length > MAX_TEXT ? `${safe.slice(0, MAX_TEXT)}…` : safe;
}

/** For texts that clients read: of a path of the machine only its last part. Addresses of the web stay. */
export function withoutPaths(text: string): string {
  return text.replace(/(?<![\w:/.-])(?:\/[\w.@+-]+)+\/([\w.@+-]+)/g, '…/$1');
}
