/** GPUs as the `nvidia-smi` of this machine tells them. */
import type { Platform } from '../platform/platform.ts';
import { KIB, type Bytes } from '../units.ts';
import { ProbeError } from './reading/probe-error.ts';
import {
  FORMAT,
  gpuQuery,
  PROCESS_QUERY,
  refusesMig,
  toReading,
  type DeviceNames,
  type QueryOutput,
} from './reading/gpu-tables.ts';
import { Pacing, ProbeHang, READ_LIMIT } from './reading/pacing.ts';
import type { Probe, ProbeReading } from './probe.ts';

/** A row takes some hundred bytes: room for a few thousand processes. */
export const OUTPUT_LIMIT: Bytes = 256 * KIB;

export interface NvidiaSmiOptions {
  readonly platform: Platform;
  /** A path, or words divided by spaces. */
  readonly command: string;
  readonly names: DeviceNames;
}

export class NvidiaSmiProbe implements Probe {
  readonly kind = 'nvidia-smi';
  readonly observes = true;
  readonly detail: string;
  readonly #options: NvidiaSmiOptions;
  readonly #pacing: Pacing;
  #words: readonly string[] | null = null;
  #withMig = true;
  readonly #closed = new AbortController();

  constructor(options: NvidiaSmiOptions) {
    this.#options = options;
    this.#pacing = new Pacing(options.platform.clock, READ_LIMIT);
    this.detail = `reads GPUs with ${options.command}`;
  }

  read(): Promise<ProbeReading> {
    return this.#pacing.read(() => this.#read());
  }

  /** What hangs would outlive the gateway, which alone would have killed it in time. */
  async close(): Promise<void> {
    this.#closed.abort();
  }

  async #read(): Promise<ProbeReading> {
    try {
      const query = gpuQuery(this.#withMig);
      const [gpus, processes] = await bothEnded(this.#run(query), this.#run(PROCESS_QUERY));
      if (!this.#withMig || !refusesMig(gpus)) return toReading(gpus, processes, this.#options.names, this.#withMig);
      this.#withMig = false;
      return toReading(await this.#run(gpuQuery(false)), processes, this.#options.names, false);
    } catch (error) {
      if (!(error instanceof ProbeError)) throw error;
      const named = `${this.#options.command}: ${error.message}`;
      throw error instanceof ProbeHang ? new ProbeHang(named) : new ProbeError(named, error.absent);
    }
  }

  async #run(query: string): Promise<QueryOutput> {
    const { platform } = this.#options;
    const argv = [...(await this.#command()), query, FORMAT];
    const { signal } = this.#closed;
    if (signal.aborted) throw new ProbeError('it is not asked any more: the gateway ends');
    const ran = await platform.subprocess
      .run(argv, { timeout: READ_LIMIT, maxOutput: OUTPUT_LIMIT, env: environment(platform.env), signal })
      .catch((error: unknown) => {
        const { code } = error as { readonly code?: string };
        if (code === 'ENOENT') throw new ProbeError('there is no such command', true);
        throw new ProbeError(`it cannot be run: ${error instanceof Error ? error.message : String(error)}`);
      });
    if (ran.timedOut) throw new ProbeHang(`it did not answer within ${READ_LIMIT / 1_000} s and was killed`);
    // Cut off, the last row would hold half a number.
    if (Buffer.byteLength(ran.stdout) >= OUTPUT_LIMIT)
      throw new ProbeError(`it printed more than ${OUTPUT_LIMIT / KIB} KiB`);
    return { text: ran.stdout, errors: ran.stderr, code: ran.code };
  }

  /** A command of several words, unless the whole text is a path that exists. */
  async #command(): Promise<readonly string[]> {
    const { platform, command } = this.#options;
    this.#words ??=
      (await platform.files.stat(command).catch(() => undefined))?.kind === 'file'
        ? [command]
        : command.trim().split(/\s+/);
    return this.#words;
  }
}

/** As Promise.all, but also a failure waits for the other one: a read is over when nothing of it runs any more. */
async function bothEnded<T>(one: Promise<T>, other: Promise<T>): Promise<[T, T]> {
  await Promise.allSettled([one, other]);
  return await Promise.all([one, other]);
}

/** Numbers and words as the parser knows them, whatever the language of the machine. */
function environment(inherited: Platform['env']): Readonly<Record<string, string>> {
  const set = Object.entries(inherited).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return { ...Object.fromEntries(set), LC_ALL: 'C', LANGUAGE: 'C' };
}
