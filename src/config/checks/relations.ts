/** Settings that are each in range and yet make no sense together. */
import type { Path } from '../problems.ts';
import { boundKeys } from '../environment.ts';
import { pathText } from '../schema/spelling.ts';
import { isLoopback } from '../schema/address-reader.ts';
import { formatDuration, formatSize } from '../../units.ts';
import { isWritten, type CheckInput } from './check-input.ts';

export function checkRelations(input: CheckInput): void {
  checkLimits(input);
  checkTimeouts(input);
  checkHeartbeats(input);
  checkPorts(input);
  checkSystem(input);
}

/** Told where one of the keys is written: in the file, else at its variable. Between defaults there is nothing to tell. */
function warn(input: CheckInput, path: Path, message: string, near: readonly Path[] = []): void {
  const { problems, environment } = input;
  const paths = [path, ...near];
  if (paths.some((key) => isWritten(input, key))) {
    problems.inFile('warning', path, 'relation', message, near);
    return;
  }
  for (const key of paths) {
    const bound = boundKeys.find((entry) => !entry.ofModel && pathText(entry.path) === pathText(key));
    const variable = bound && environment.get(bound.key)?.variable;
    if (variable === undefined) continue;
    problems.inEnvironment('warning', variable, 'relation', `${pathText(path)}: ${message}`);
    return;
  }
}

function checkLimits(input: CheckInput): void {
  const { limits, server } = input.config;
  if (limits.maxConcurrent > limits.maxQueueSize) {
    warn(
      input,
      ['limits', 'max_queue_size'],
      `${limits.maxQueueSize} is smaller than limits.max_concurrent, ${limits.maxConcurrent}: a burst of one replica's size is refused`,
      [['limits', 'max_concurrent']],
    );
  }
  if (limits.maxTurn > limits.queueTimeout) {
    warn(
      input,
      ['limits', 'max_turn'],
      `${formatDuration(limits.maxTurn)} is longer than limits.queue_timeout, ${formatDuration(limits.queueTimeout)}: requests give up before their model gets its turn`,
      [['limits', 'queue_timeout']],
    );
  }
  if (server.maxBodySize > limits.maxBufferedBytes) {
    warn(
      input,
      ['server', 'max_body_size'],
      `${formatSize(server.maxBodySize)} is larger than limits.max_buffered_bytes, ${formatSize(limits.maxBufferedBytes)}: such a body can never be held`,
      [['limits', 'max_buffered_bytes']],
    );
  }
  checkShares(input);
}

/** `workers: auto` means no more: beyond these the one controller has more to do than they. */
const MOST_AUTO_WORKERS = 8;

/** They reach the control plane over a socket that other systems have not. */
const hasWorkers = (system: string | undefined): boolean => system === undefined || system === 'linux';

/** How many processes the data plane has on this machine; 1 = none beside the one process. */
export function workersOf(
  workers: number | 'auto',
  { cores = 1, system }: { readonly cores?: number | undefined; readonly system?: string | undefined },
): number {
  if (workers !== 'auto') return workers;
  return hasWorkers(system) ? Math.min(MOST_AUTO_WORKERS, cores) : 1;
}

function checkSystem({ config, problems, system }: CheckInput): void {
  const { workers } = config.server;
  if (workers === 'auto' || workers === 1 || hasWorkers(system)) return;
  problems.inFile(
    'error',
    ['server', 'workers'],
    'unsupported',
    `${workers} processes of the data plane need Linux, and this is ${system}: write 1 or auto, which is 1 here, or run the gateway in a container`,
  );
}

/** Each worker holds bodies up to its share of all of them. */
function checkShares(input: CheckInput): void {
  const { limits, server } = input.config;
  const workers = workersOf(server.workers, { cores: MOST_AUTO_WORKERS, system: input.system });
  const share = Math.floor(limits.maxBufferedBytes / workers);
  if (workers === 1 || server.maxBodySize <= share) return;
  warn(
    input,
    ['server', 'max_body_size'],
    `${formatSize(server.maxBodySize)} is larger than what one of ${workers} workers may hold, its share of limits.max_buffered_bytes, ${formatSize(share)}: such a body can never be held`,
    [
      ['server', 'workers'],
      ['limits', 'max_buffered_bytes'],
    ],
  );
}

function checkTimeouts(input: CheckInput): void {
  const { timeouts } = input.config;
  if (timeouts.connect > timeouts.firstByte) {
    warn(
      input,
      ['timeouts', 'connect'],
      `${formatDuration(timeouts.connect)} is longer than the wait for the first byte, ${formatDuration(timeouts.firstByte)}`,
      [
        ['timeouts', 'first_byte'],
        ['timeouts', 'request'],
      ],
    );
  }
  if (timeouts.total > 0 && timeouts.total < timeouts.firstByte) {
    warn(
      input,
      ['timeouts', 'total'],
      `${formatDuration(timeouts.total)} is shorter than the wait for the first byte, ${formatDuration(timeouts.firstByte)}, which then never counts`,
      [['timeouts', 'first_byte']],
    );
  }
  if (timeouts.stall > timeouts.betweenChunks && isWritten(input, ['timeouts', 'stall'])) {
    warn(
      input,
      ['timeouts', 'stall'],
      `${formatDuration(timeouts.stall)} is longer than timeouts.between_chunks, ${formatDuration(timeouts.betweenChunks)}: requests are ended one by one before a hung engine is noticed`,
      [
        ['timeouts', 'between_chunks'],
        ['timeouts', 'request'],
      ],
    );
  }
}

function checkHeartbeats(input: CheckInput): void {
  const { keepalive } = input.config.server;
  if ((keepalive.after === 0) !== (keepalive.every === 0)) {
    const zero = keepalive.after === 0 ? 'after' : 'every';
    warn(input, ['server', 'keepalive', zero], `0 turns heartbeats off altogether; set both to 0, or both above 0`, [
      ['server', 'keepalive'],
    ]);
  }
}

function checkPorts(input: CheckInput): void {
  const { listen, adminListen } = input.config.server;
  const { first, last } = input.config.drivers.process.portRange;
  for (const [key, address] of [
    ['listen', listen],
    ['admin_listen', adminListen],
  ] as const) {
    if (!address || address.port < first || address.port > last) continue;
    warn(
      input,
      ['drivers', 'process', 'port_range'],
      `${first}-${last} holds the port of server.${key}, ${address.port}; an engine may get it first`,
      [['server', key]],
    );
  }
  if (adminListen && adminListen.port !== 0 && adminListen.port === listen.port && adminListen.host === listen.host) {
    input.problems.inFile(
      'error',
      ['server', 'admin_listen'],
      'conflict',
      'is the same address as server.listen; allowed: another port, or null',
      [['server', 'listen']],
    );
  }
  const processModels = [...input.config.models.values()].filter(({ driver }) => driver === 'process').length;
  if (processModels > last - first + 1) {
    warn(
      input,
      ['drivers', 'process', 'port_range'],
      `${first}-${last} has fewer ports than there are models of the process driver, ${processModels}`,
    );
  }
  checkContainer(input);
}

/** The image listens everywhere; a file that says loopback there cuts the gateway off from everybody. */
function checkContainer(input: CheckInput): void {
  const asked = input.env['GATEWAY_LISTEN'];
  if (asked === undefined || asked === '' || !isWritten(input, ['server', 'listen'])) return;
  const { host } = input.config.server.listen;
  if (isLoopback(host) && /^(?:0\.0\.0\.0|\[::\]|\*)?:\d+$/.test(asked.trim())) {
    warn(
      input,
      ['server', 'listen'],
      `a loopback address hides GATEWAY_LISTEN=${asked.trim()}: inside a container nothing outside it can connect; remove server.listen from the file`,
    );
  }
}
