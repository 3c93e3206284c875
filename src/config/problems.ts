/** Collects everything that is wrong, with the place where it is written. */
import type { ConfigProblem, Severity } from './config.ts';
import { pathText } from './schema/spelling.ts';

export type Path = readonly (string | number)[];

export interface Place {
  readonly line: number;
  readonly column: number;
}

/** Where a file says what. */
export interface FilePlaces {
  readonly source: string;
  /** The value at a path; with `key`, the name it is written under. */
  place(path: Path, what?: 'key' | 'value'): Place | undefined;
}

export class Problems {
  readonly list: ConfigProblem[] = [];
  /** Something that forbids a start was found. */
  refused = false;
  readonly #file: FilePlaces | undefined;

  constructor(file?: FilePlaces) {
    this.#file = file;
  }

  get source(): string {
    return this.#file?.source ?? 'environment';
  }

  /** A problem of the file, at the nearest place of `path` that is written there (or of `near`, in this order). */
  inFile(severity: Severity, path: Path, code: string, message: string, near: readonly Path[] = []): void {
    this.#push(severity, this.source, this.#nearest([path, ...near]), pathText(path), code, message);
  }

  /** The name itself is wrong, not its value. */
  atKey(severity: Severity, path: Path, code: string, message: string): void {
    const place = this.#file?.place(path, 'key') ?? this.#nearest([path]);
    this.#push(severity, this.source, place, pathText(path), code, message);
  }

  /** A place that is no key: broken YAML, an unreadable file. */
  atPlace(source: string, place: Place | undefined, code: string, message: string, severity: Severity = 'error'): void {
    this.#push(severity, source, place, '', code, message);
  }

  inEnvironment(severity: Severity, variable: string, code: string, message: string): void {
    this.#push(severity, 'environment', undefined, variable, code, message);
  }

  inFlags(flag: string, code: string, message: string): void {
    this.#push('error', 'flags', undefined, flag, code, message);
  }

  /** An error that leaves the gateway able to start: the default stands in. */
  lenient(variable: string, code: string, message: string): void {
    const before = this.refused;
    this.inEnvironment('error', variable, code, message);
    this.refused = before;
  }

  #nearest(paths: readonly Path[]): Place | undefined {
    for (const path of paths) {
      const exact = this.#file?.place(path);
      if (exact) return exact;
    }
    const first = paths[0] ?? [];
    for (let length = first.length - 1; length > 0; length -= 1) {
      const place = this.#file?.place(first.slice(0, length), 'key');
      if (place) return place;
    }
    return undefined;
  }

  #push(
    severity: Severity,
    source: string,
    place: Place | undefined,
    path: string,
    code: string,
    message: string,
  ): void {
    if (severity === 'error') this.refused = true;
    this.list.push({ severity, source, line: place?.line ?? null, column: place?.column ?? null, path, code, message });
  }
}

/** `FILE:LINE:COLUMN: key.path: what is wrong`, on one line whatever the file holds. */
export function renderProblem(problem: ConfigProblem): string {
  const place = problem.line === null ? '' : `:${problem.line}${problem.column === null ? '' : `:${problem.column}`}`;
  const path = problem.path === '' ? '' : `${problem.path}: `;
  return oneLine(`${problem.source}${place}: ${path}${problem.message}`);
}

function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]/gu, (character) => {
    const code = character.charCodeAt(0).toString(16).padStart(4, '0');
    return `\\u${code}`;
  });
}
