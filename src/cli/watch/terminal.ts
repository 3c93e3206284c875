/**
 * The other screen of a terminal: taken, drawn on without flicker, and given back as it was, whatever ends the process.
 * Control sequences: ECMA-48, and the private modes of xterm (1049 other screen, 25 cursor, 2026 synchronised update).
 */
import type { OutputStream } from '../world.ts';
import { shown, type Line } from './spans.ts';

const ESC = '\u001b[';
const ENTER = `${ESC}?1049h${ESC}?25l${ESC}2J`;
const LEAVE = `${ESC}0m${ESC}?25h${ESC}?1049l`;
const BEGIN_UPDATE = `${ESC}?2026h`;
const END_UPDATE = `${ESC}?2026l`;
const CLEAR_RIGHT = `${ESC}K`;

export class TerminalScreen implements Disposable {
  readonly #out: OutputStream;
  readonly #atEnd: Disposable;
  #drawn: readonly string[] = [];
  #left = false;

  /** `onEnd` calls back when the process ends in another way than by disposing. */
  constructor(out: OutputStream, onEnd: (run: () => void) => Disposable) {
    this.#out = out;
    this.#atEnd = onEnd(() => this.#leave());
    out.write(ENTER);
  }

  /** Writes the lines that are not there yet; all of them after `forget`. */
  draw(lines: readonly Line[]): void {
    if (this.#left) return;
    const next = lines.map((line) => shown(line, this.#out));
    const changed = next.flatMap((text, index) =>
      text === this.#drawn[index] ? [] : [`${ESC}${index + 1};1H${text}${CLEAR_RIGHT}`],
    );
    this.#drawn = next;
    if (changed.length > 0) this.#out.write(`${BEGIN_UPDATE}${changed.join('')}${END_UPDATE}`);
  }

  /** After a change of size a terminal shows anything. */
  forget(): void {
    this.#drawn = [];
    if (!this.#left) this.#out.write(`${ESC}2J`);
  }

  [Symbol.dispose](): void {
    this.#atEnd[Symbol.dispose]();
    this.#leave();
  }

  #leave(): void {
    if (this.#left) return;
    this.#left = true;
    this.#out.write(LEAVE);
  }
}
