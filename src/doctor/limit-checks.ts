/** Ports and open files: what the operating system lets the gateway have. */
import type { Config, ListenAddress } from '../config/config.ts';
import type { Platform } from '../platform/platform.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import { workersOf } from '../config/checks/relations.ts';
import { codeOf, findingsOf, type Finding } from './finding.ts';

const HEALTH_LIMIT: Milliseconds = 2 * SECOND;
/** Files, logs, sockets of the control plane. */
const OWN_FILES = 256;

const addressText = ({ host, port }: ListenAddress): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;

export async function checkPorts(config: Config, platform: Platform): Promise<readonly Finding[]> {
  const { listen, adminListen } = config.server;
  const listening = await Promise.all([
    checkPort(listen, 'server.listen (GATEWAY_LISTEN)', platform),
    ...(adminListen === null ? [] : [checkPort(adminListen, 'server.admin_listen (GATEWAY_ADMIN_LISTEN)', platform)]),
  ]);
  return [...listening, ...checkEnginePorts(config)];
}

async function checkPort(address: ListenAddress, setting: string, platform: Platform): Promise<Finding> {
  const { ok, problem } = findingsOf('port');
  const told = addressText(address);
  if (address.port === 0) return ok(`${told}: any free port.`);
  if (await platform.subprocess.portIsFree(address.host, address.port)) return ok(`${told} is free.`);
  const host = address.host === '0.0.0.0' || address.host === '::' ? '127.0.0.1' : address.host;
  const url = `http://${addressText({ host, port: address.port })}/healthz`;
  const answer = await platform.http.get(url, { timeout: HEALTH_LIMIT }).catch((error: unknown) => codeOf(error));
  if (typeof answer !== 'string' && answer.status === 200 && /"status":\s*"ok"/.test(answer.body))
    return ok(`A gateway listens on ${told} already.`);
  return problem(
    `${told} cannot be had: another program has it, or this user may not.`,
    `Stop that program (ss -ltnp 'sport = :${address.port}' names it), or name a free port above 1023 in ${setting}.`,
  );
}

function checkEnginePorts({ models, drivers }: Config): readonly Finding[] {
  const { ok, problem } = findingsOf('port');
  const count = [...models.values()].filter(({ driver }) => driver === 'process').length;
  if (count === 0) return [];
  const { first, last } = drivers.process.portRange;
  const room = last - first + 1;
  if (room >= count) return [ok(`${first}-${last} has room for ${count} engines.`)];
  return [
    problem(
      `${first}-${last} has ${room} ports, and ${count} engines may run.`,
      'Widen drivers.process.port_range: each engine listens on one.',
    ),
  ];
}

export async function checkFiles(config: Config, platform: Platform): Promise<Finding> {
  const { ok, problem, unknown } = findingsOf('open files');
  const text = await platform.files.readText('/proc/self/limits').catch(() => undefined);
  const limit = /^Max open files\s+(\S+)/m.exec(text ?? '')?.[1];
  if (limit === undefined) return unknown('The limit of open files cannot be read.');
  const workers = workersOf(config.server.workers, platform);
  const most = Math.ceil(mostConnections(config) / workers);
  const where = workers === 1 ? '' : ' in each worker';
  const told = `${limit} may be open; ${most} connections may be${where}, with every queue full`;
  if (limit === 'unlimited' || Number(limit) >= most + OWN_FILES) return ok(`${told}.`);
  return problem(
    `${told}.`,
    `Raise it to ${most + OWN_FILES} (ulimit -n, LimitNOFILE of systemd, --ulimit nofile of Docker), or lower limits.max_queue_size.`,
  );
}

/** More workers than processors take turns, and each of them has to become fast by itself. */
export function checkWorkers(config: Config, platform: Platform): readonly Finding[] {
  const { ok, problem } = findingsOf('workers');
  const [workers, cores] = [workersOf(config.server.workers, platform), platform.cores ?? 1];
  if (workers === 1) return [];
  const told = `${workers} workers and the process that leads them share ${cores} ${cores === 1 ? 'core' : 'cores'}`;
  return [
    workers > cores
      ? problem(`${told}.`, `Lower server.workers to ${cores}, or give the gateway more.`)
      : ok(`${told}.`),
  ];
}

/** Clients that wait or are served, and connections to engines. */
function mostConnections({ limits, models }: Config): number {
  const inFlight = limits.maxConcurrent * limits.maxModelsConcurrent;
  const waiting = [...models.values()].reduce((total, model) => total + model.maxQueueSize, 0);
  return waiting + 2 * inFlight;
}
