/** Makes an image present, and says how far it is. */
import { LaunchError, type FetchOptions } from '../driver.ts';
import type { DockerClient } from './client.ts';
import { failureOf } from './failures.ts';
import { jsonLines } from './json-lines.ts';

/** Unpacking a layer takes about as long as fetching a quarter of it. */
const DOWNLOAD_PART = 0.8;

/** Resolves with its id (`sha256:…`). @throws LaunchError; what the signal says when it aborts */
export async function ensureImage(client: DockerClient, name: string, options: FetchOptions): Promise<string> {
  const { signal, progress } = options;
  signal.throwIfAborted();
  let asksRegistry = false;
  try {
    const present = await client.imageId(name);
    if (present !== undefined) return present;
    progress('image', null);
    const pull = new PullProgress();
    asksRegistry = true;
    const lines = jsonLines(await client.pull(name, signal));
    asksRegistry = false;
    for await (const line of lines) {
      const error = pull.read(line);
      if (error !== null) throw new LaunchError('image', pullFailure(name, error));
      progress('image', pull.fraction());
    }
    signal.throwIfAborted();
    const id = await client.imageId(name);
    // The connection may break without a word, and then the stream just ends.
    if (id === undefined) throw new LaunchError('driver_unavailable', `the pull of the image ${name} ended too early.`);
    return id;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof LaunchError) throw error;
    const failure = failureOf(error);
    if (failure.kind === 'timeout' && asksRegistry)
      throw new LaunchError('image', pullFailure(name, 'its registry does not answer'));
    if (failure.kind !== 'refused') throw new LaunchError('driver_unavailable', `${failure.sentence()}.`);
    throw new LaunchError('image', pullFailure(name, failure.message));
  }
}

function pullFailure(name: string, text: string): string {
  return `the image ${name} could not be pulled: ${text.replace(/\.$/, '')}.`;
}

interface Layer {
  /** Bytes; null = not said yet. */
  total: number | null;
  done: number;
}

export class PullProgress {
  readonly #layers = new Map<string, Layer>();

  /** The daemon's reason when the pull failed, else null. */
  read(line: Readonly<Record<string, unknown>>): string | null {
    const { error, errorDetail, id, status } = line;
    if (typeof error === 'string') return error;
    if (errorDetail !== undefined) return String((errorDetail as { readonly message?: unknown }).message ?? 'unknown');
    if (typeof id !== 'string' || typeof status !== 'string') return null;
    const layer = this.#layer(id, status);
    if (layer === undefined) return null;
    const { current, total } = (line['progressDetail'] ?? {}) as {
      readonly current?: unknown;
      readonly total?: unknown;
    };
    const part =
      typeof current === 'number' && typeof total === 'number' && total > 0 ? Math.min(1, current / total) : 0;
    if (status === 'Downloading') {
      if (typeof total === 'number' && total > 0) layer.total = total;
      layer.done = Math.max(layer.done, DOWNLOAD_PART * part);
    } else if (status === 'Download complete' || status === 'Verifying Checksum') {
      layer.done = Math.max(layer.done, DOWNLOAD_PART);
    } else if (status === 'Extracting') {
      layer.done = Math.max(layer.done, DOWNLOAD_PART + (1 - DOWNLOAD_PART) * part);
    } else if (status === 'Pull complete' || status === 'Already exists') {
      layer.done = 1;
    }
    return null;
  }

  /** In [0, 1], by bytes; a layer that did not say its size yet counts as one of middle size. Null = nothing known. */
  fraction(): number | null {
    const layers = [...this.#layers.values()];
    const sizes = layers.flatMap((layer) => layer.total ?? []);
    if (layers.length === 0) return null;
    const middle = sizes.length === 0 ? 1 : sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
    let all = 0;
    let done = 0;
    for (const layer of layers) {
      const size = layer.total ?? middle;
      all += size;
      done += size * layer.done;
    }
    return done / all;
  }

  #layer(id: string, status: string): Layer | undefined {
    let layer = this.#layers.get(id);
    // The first line carries the tag as its id.
    if (layer === undefined && !status.startsWith('Pulling from')) {
      layer = { total: null, done: 0 };
      this.#layers.set(id, layer);
    }
    return layer;
  }
}
