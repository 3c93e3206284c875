/** What went wrong between the gateway and the Docker daemon, and what of it a failed start is told. */
import type { StartFailureCause } from '../../errors.ts';
import { LaunchError } from '../driver.ts';
import { withoutPaths } from '../logs/fetch-progress.ts';

/**
 * `refused`: the daemon answered with an error, `status` says which. Otherwise nobody knows whether it did what was asked:
 * `absent`, `denied`, `lost` (the connection broke), `timeout`, `broken` (the client itself).
 */
export type DockerFailureKind = 'refused' | 'absent' | 'denied' | 'lost' | 'timeout' | 'broken';

const MAX_TEXT = 300;

const SENTENCES: Readonly<Record<Exclude<DockerFailureKind, 'refused'>, string>> = {
  absent: 'Docker does not answer: nothing listens on its socket',
  denied: 'Docker may not be used: the user of the gateway has no right to its socket',
  lost: 'the connection to Docker broke',
  timeout: 'Docker does not answer',
  broken: 'Docker cannot be asked',
};

export class DockerFailure extends Error {
  readonly kind: DockerFailureKind;
  readonly status: number | null;
  constructor(kind: DockerFailureKind, status: number | null, message: string) {
    super(message);
    this.name = 'DockerFailure';
    this.kind = kind;
    this.status = status;
  }

  /** For people, without paths of the machine. */
  sentence(): string {
    if (this.kind === 'refused') return withoutPaths(`Docker refuses: ${this.message}`);
    const sentence = SENTENCES[this.kind];
    return this.kind === 'timeout' || this.kind === 'broken' ? `${sentence}: ${this.message}` : sentence;
  }
}

interface LibraryError {
  readonly statusCode?: number;
  readonly json?: { readonly message?: string } | null;
  readonly code?: string;
  readonly message?: string;
}

const LOST: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'ERR_STREAM_PREMATURE_CLOSE']);

export function failureOf(error: unknown): DockerFailure {
  if (error instanceof DockerFailure) return error;
  const { statusCode, json, code, message } = (error ?? {}) as LibraryError;
  const text = excerpt(json?.message ?? message ?? String(error));
  if (statusCode !== undefined) return new DockerFailure('refused', statusCode, text);
  if (code === 'ENOENT' || code === 'ECONNREFUSED') return new DockerFailure('absent', null, text);
  if (code === 'EACCES' || code === 'EPERM') return new DockerFailure('denied', null, text);
  if (LOST.has(code ?? '') || /socket hang up|aborted/.test(text)) return new DockerFailure('lost', null, text);
  return new DockerFailure('broken', null, text);
}

function excerpt(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > MAX_TEXT ? `${line.slice(0, MAX_TEXT)}…` : line;
}

const INSTALL_TOOLKIT =
  'install the NVIDIA Container Toolkit, or set drivers.docker.gpus to cdi, or to none for machines without GPUs';

/** By what the daemon says, as its status tells little: a wrong command is 400 and a missing GPU runtime 500. */
const REFUSALS: readonly (readonly [RegExp, StartFailureCause, (match: RegExpExecArray) => string])[] = [
  [/no such image/i, 'image', () => 'its image is not on this machine any more.'],
  [
    /could not select device driver|unresolvable CDI devices|CDI.*not (?:found|enabled)|nvidia-container-cli.*(?:not found|library)/i,
    'driver_unavailable',
    () => `Docker cannot hand GPUs to containers here: ${INSTALL_TOOLKIT}.`,
  ],
  [/unknown device|device .*not found|invalid device/i, 'bad_arguments', () => 'Docker does not know one of its GPUs.'],
  [
    /exec: \\?"([^"\\]+)\\?": (?:executable file not found|stat [^:]+: no such file|no such file)/i,
    'bad_arguments',
    (match) => `the command '${lastPart(match[1])}' is not in the image.`,
  ],
  [
    /exec: \\?"([^"\\]+)\\?": .*permission denied/i,
    'bad_arguments',
    (match) => `the command '${lastPart(match[1])}' may not be executed in the image.`,
  ],
  [/port is already allocated|address already in use/i, 'port_in_use', () => 'Docker found no free port for it.'],
  [/no space left on device/i, 'driver_unavailable', () => 'the disk of Docker is full.'],
  [/unknown or invalid runtime|unknown runtime/i, 'driver_unavailable', () => 'Docker does not have the runtime.'],
  [
    /invalid mount|mount point|invalid volume|bind source path does not exist|mount denied|invalid bind/i,
    'bad_arguments',
    () => 'Docker refuses one of its volumes.',
  ],
];

/** Of a create or start: which cause a failed start has. */
export function launchFailure(error: unknown): LaunchError {
  if (error instanceof LaunchError) return error;
  const failure = failureOf(error);
  if (failure.kind !== 'refused') return new LaunchError('driver_unavailable', `${failure.sentence()}.`);
  for (const [pattern, cause, say] of REFUSALS) {
    const match = pattern.exec(failure.message);
    if (match !== null) return new LaunchError(cause, say(match));
  }
  const cause = failure.status === 400 ? 'bad_arguments' : 'driver_unavailable';
  return new LaunchError(cause, `${failure.sentence()}.`);
}

function lastPart(path = ''): string {
  return path.split('/').at(-1) ?? path;
}
