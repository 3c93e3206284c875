/**
 * How long starts took, kept over restarts in `state_dir/start_times.json`. Only estimates are made from it: whatever is
 * wrong with it costs a warning, and starts are timed anew.
 */
import { MOST_PHASES, sameSignature, type PhaseTime, type StartTimes } from '../core/lifecycle/start-times.ts';
import { LatestText } from '../platform/latest-text.ts';
import type { Files } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { HOUR, MIB, type Milliseconds } from '../units.ts';
import { isRecord, parseJson, signatureOf } from './learned-json.ts';

const VERSION = 1;
const NAME = 'start_times.json';
/** Models come and go; the file must not grow for ever. The oldest go. */
const MOST_KEPT = 1_000;
const LARGEST = 16 * MIB;
/** Names of models and images are shorter. */
const LONGEST_NAME = 1_024;
/** No phase takes longer: a start is ended before. */
const LONGEST_PHASE: Milliseconds = 24 * HOUR;

export interface StartTimesFileOptions {
  readonly files: Pick<Files, 'stat' | 'readText' | 'writeAtomic'>;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  /** `state_dir`. */
  readonly folder: string;
}

export class StartTimesFile {
  readonly #options: StartTimesFileOptions;
  readonly #path: string;
  readonly #text: LatestText;
  /** The one that was learned longest ago first. */
  #kept: readonly StartTimes[] = [];

  constructor(options: StartTimesFileOptions) {
    this.#options = options;
    this.#path = `${options.folder}/${NAME}`;
    this.#text = new LatestText(options.files, this.#path);
  }

  /** What earlier runs learned, oldest first. Never rejects. */
  async load(): Promise<readonly StartTimes[]> {
    const text = await this.#read();
    if (text !== undefined) this.#kept = this.#parse(text).slice(-MOST_KEPT);
    return this.#kept;
  }

  /** All that is kept, oldest first. */
  get known(): readonly StartTimes[] {
    return this.#kept;
  }

  /** Returns at once; what was known of the same start is replaced. */
  learned(times: StartTimes): void {
    const others = this.#kept.filter(
      ({ model, signature }) => model !== times.model || !sameSignature(signature, times.signature),
    );
    this.#kept = [...others, times].slice(-MOST_KEPT);
    const { log } = this.#options;
    this.#text
      .write(`${JSON.stringify({ version: VERSION, starts: this.#kept }, null, 2)}\n`)
      .catch((error: unknown) => log.error({ err: error, path: this.#path }, 'learned start times cannot be kept'));
  }

  /** Resolves when everything that was learned is on disk, or could not be written. */
  get written(): Promise<void> {
    return this.#text.written;
  }

  async #read(): Promise<string | undefined> {
    const { files, log } = this.#options;
    try {
      const stat = await files.stat(this.#path);
      if (stat === undefined) return undefined;
      if (stat.kind === 'folder' || stat.size > LARGEST) {
        log.warn({ path: this.#path, bytes: stat.size }, 'this is no file of start times; starts are timed anew');
        return undefined;
      }
      return await files.readText(this.#path);
    } catch (error) {
      log.warn({ err: error, path: this.#path }, 'the file of start times cannot be read; starts are timed anew');
      return undefined;
    }
  }

  /** What is damaged is dropped, and written over with the next start that succeeds. */
  #parse(text: string): readonly StartTimes[] {
    const { log } = this.#options;
    const value = parseJson(text);
    if (!isRecord(value) || value['version'] !== VERSION || !Array.isArray(value['starts'])) {
      log.warn({ path: this.#path }, 'the file of start times is damaged or of another version; starts are timed anew');
      return [];
    }
    const entries: readonly unknown[] = value['starts'];
    const sound = entries.flatMap((entry) => startTimesOf(entry) ?? []);
    const dropped = entries.length - sound.length;
    if (dropped > 0) {
      log.warn({ path: this.#path, dropped }, 'damaged start times are dropped; those starts are timed anew');
    }
    return sound;
  }
}

function startTimesOf(entry: unknown): StartTimes | undefined {
  if (!isRecord(entry)) return undefined;
  const { model } = entry;
  const signature = signatureOf(entry['signature']);
  const given: unknown = entry['phases'];
  if (!isName(model) || model === '' || signature === undefined || !Array.isArray(given)) return undefined;
  if (![signature.specHash, signature.deviceClass, signature.image ?? ''].every(isName)) return undefined;
  const phases = given.flatMap((phase: unknown) => phaseTimeOf(phase) ?? []);
  if (given.length === 0 || given.length > MOST_PHASES || phases.length < given.length) return undefined;
  return { model, signature, phases };
}

function phaseTimeOf(value: unknown): PhaseTime | undefined {
  if (!isRecord(value)) return undefined;
  const { phase, lasted } = value;
  if (typeof phase !== 'string' || !/^[a-z_]{1,32}$/.test(phase)) return undefined;
  if (typeof lasted !== 'number' || !(lasted >= 0 && lasted <= LONGEST_PHASE)) return undefined;
  return { phase, lasted };
}

const isName = (value: unknown): value is string => typeof value === 'string' && value.length <= LONGEST_NAME;
