/** Bytes of an engine's log → lines of plain text. */

/** A line longer than this is handed on in pieces: nothing of a log may fill the memory. */
const MAX_LINE = 64 * 1024;

const ESCAPE = '\u001b';
const BELL = '\u0007';
/** ECMA-48: control sequences, operating system commands (titles, links), and the two-character ones. */
const SEQUENCES = new RegExp(
  `${ESCAPE}\\[[0-?]*[ -/]*[@-~]|${ESCAPE}\\][^${BELL}${ESCAPE}]*(?:${BELL}|${ESCAPE}\\\\)|${ESCAPE}[ -/]*[0-~]`,
  'g',
);
/** What is left of C0 (tabs stay) and DEL. */
const CONTROLS = new RegExp('[\\u0000-\\u0008\\u000a-\\u001f\\u007f]', 'g');

export function plainText(line: string): string {
  const text = line.includes(ESCAPE) ? line.replace(SEQUENCES, '') : line;
  return text.replace(CONTROLS, '').trimEnd();
}

/**
 * A progress bar redraws itself with carriage returns. `each`: every drawing is a line, as soon as it is there, for
 * followers; `last`: only what would still be seen of it, for those who read afterwards.
 */
export type ProgressMode = 'each' | 'last';

export class LineSplitter {
  readonly #mode: ProgressMode;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #pending = '';
  #afterReturn = false;

  constructor(mode: ProgressMode) {
    this.#mode = mode;
  }

  push(bytes: Uint8Array): string[] {
    return this.#split(this.#decoder.decode(bytes, { stream: true }));
  }

  /** What stands after the last newline. */
  end(): string[] {
    const lines = this.#split(this.#decoder.decode());
    const rest = this.#pending;
    this.#pending = '';
    return rest === '' ? lines : [...lines, this.#finish(rest)];
  }

  #split(text: string): string[] {
    const lines: string[] = [];
    const ends = this.#mode === 'each' ? /[\r\n]/g : /\n/g;
    let from = 0;
    for (let match = ends.exec(text); match !== null; match = ends.exec(text)) {
      const line = this.#pending + text.slice(from, match.index);
      this.#pending = '';
      from = match.index + 1;
      const isReturn = match[0] === '\r';
      // `\r\n` is one end of line, and an empty drawing is nothing to see.
      if (line !== '' || (!isReturn && !this.#afterReturn)) lines.push(this.#finish(line));
      this.#afterReturn = isReturn;
    }
    if (from < text.length) this.#afterReturn = false;
    this.#pending += text.slice(from);
    if (this.#pending.length > MAX_LINE) {
      lines.push(this.#finish(this.#pending));
      this.#pending = '';
    }
    return lines;
  }

  #finish(line: string): string {
    if (this.#mode === 'each' || !line.includes('\r')) return plainText(line);
    return plainText(line.split('\r').findLast((drawing) => drawing !== '') ?? '');
  }
}
