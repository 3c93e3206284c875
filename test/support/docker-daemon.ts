/**
 * A Docker daemon of the test's own: nothing of it touches a daemon that runs on the machine, it may be killed at any
 * time, and `stop` leaves nothing behind. Needs Linux, root and `dockerd`; see `dockerHere`.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { callDocker } from './docker-call.ts';
import { FAKE_VLLM_IMAGE, fakeVllmImageTar } from './docker-image.ts';

export { FAKE_VLLM_IMAGE } from './docker-image.ts';

const START_LIMIT_MS = 60_000;
const END_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 25;

export interface DaemonOptions {
  /** Containers outlive the daemon. */
  readonly liveRestore?: boolean;
  /** More arguments of `dockerd`. */
  readonly args?: readonly string[];
  /** Its disk: no more than this, in MiB, in memory. */
  readonly dataMib?: number;
  /** Folder whose programs it finds first, whenever it is started. */
  readonly programs?: string;
}

export interface DockerDaemon {
  /** Path of its socket; `docker -H unix://SOCKET …` works too. */
  readonly socket: string;
  /** Everything that it writes lies below. */
  readonly folder: string;
  /**
   * Loads an image without a distribution: Node, `sh`, `sleep`, fake-vllm as `vllm`, its `nvidia-smi`, and a
   * `python3` that fetches as the gateway's program would. Resolves with its tag.
   */
  loadFakeVllmImage(tag?: string): Promise<string>;
  /** SIGKILL: containers run on (until a restart without `liveRestore` ends them). */
  kill(): Promise<void>;
  /** SIGTERM: without `liveRestore` its containers are stopped first. */
  terminate(): Promise<void>;
  /** Starts it again where it was. */
  start(): Promise<void>;
  /** Kills it and starts it again. */
  restart(): Promise<void>;
  /** Ends its containers, the daemon and everything that it left on the machine. */
  stop(): Promise<void>;
}

/** Why no private daemon can be had here; null = it can. */
export function dockerMissing(): string | null {
  if (process.platform !== 'linux') return 'a private Docker daemon needs Linux';
  if (process.getuid?.() !== 0) return 'a private Docker daemon needs root';
  for (const program of ['dockerd', 'ip', 'tar']) {
    if (spawnSync(program, ['--help'], { stdio: 'ignore' }).error !== undefined) return `${program} is not installed`;
  }
  return null;
}

/** For `describe.runIf`: false, with the reason on stderr, where no private daemon can be had. Throws in CI, where nothing may be skipped. */
export function dockerHere(): boolean {
  const missing = dockerMissing();
  if (missing === null) return true;
  if (process.env['CI'] === 'true') throw new Error(`tests with Docker may not be skipped in CI, but ${missing}`);
  process.stderr.write(`tests with Docker are skipped: ${missing}
`);
  return false;
}

export async function startDaemon(options: DaemonOptions = {}): Promise<DockerDaemon> {
  const daemon = new PrivateDaemon(options);
  try {
    await daemon.start();
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return daemon;
}

class PrivateDaemon implements DockerDaemon {
  readonly folder = mkdtempSync(join(tmpdir(), 'vgw-dockerd-'));
  readonly socket = join(this.folder, 'docker.sock');
  readonly #options: DaemonOptions;
  /** Each daemon hands out addresses of its own: they do not see each other. */
  readonly #pool = `10.${100 + (randomBytes(1).readUInt8() % 100)}.${randomBytes(1).readUInt8() & 0xf0}.0/20`;
  #child: ChildProcess | null = null;

  constructor(options: DaemonOptions) {
    this.#options = options;
    const data = join(this.folder, 'data');
    mkdirSync(data);
    if (options.dataMib !== undefined) mountMemory(data, options.dataMib);
    process.once('exit', this.#endAtExit);
  }

  async start(): Promise<void> {
    rmSync(join(this.folder, 'pid'), { force: true });
    this.#forgetDeadContainerd();
    const log = openSync(join(this.folder, 'log'), 'a');
    const { PATH: path = '' } = process.env;
    const env = { ...process.env, PATH: [this.#options.programs ?? [], path].flat().join(delimiter) };
    const child = spawn('dockerd', this.#arguments(), { stdio: ['ignore', log, log], env });
    closeSync(log);
    this.#child = child;
    const deadline = Date.now() + START_LIMIT_MS;
    while (!(await this.#answers())) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`dockerd does not start:\n${this.#log()}`);
      await pause();
    }
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
    // Its containerd is told by the system to go with it: not before that is done is it killed as a whole.
    const deadline = Date.now() + END_LIMIT_MS;
    while (this.#containerdLives() && Date.now() < deadline) await pause();
  }

  async terminate(): Promise<void> {
    await this.#end('SIGTERM');
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  async loadFakeVllmImage(tag: string = FAKE_VLLM_IMAGE): Promise<string> {
    const colon = tag.lastIndexOf(':');
    const query = new URLSearchParams({ fromSrc: '-', repo: tag.slice(0, colon), tag: tag.slice(colon + 1) });
    for (const change of ['ENV PATH=/usr/local/bin:/usr/bin:/bin', 'ENV HOME=/root', 'ENTRYPOINT ["vllm", "serve"]']) {
      query.append('changes', change);
    }
    const answer = await callDocker(this.socket, 'POST', `/images/create?${query.toString()}`, fakeVllmImageTar());
    if (answer.status !== 200 || answer.text.includes('"error"')) throw new Error(`no image: ${answer.text}`);
    return tag;
  }

  async stop(): Promise<void> {
    process.removeListener('exit', this.#endAtExit);
    if (this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null) {
      await this.#removeEverything().catch(() => undefined);
      await this.terminate();
    }
    await this.#endSurvivors();
    this.#clean();
  }

  #arguments(): string[] {
    return [
      ...['--data-root', join(this.folder, 'data'), '--exec-root', join(this.folder, 'exec')],
      ...['--pidfile', join(this.folder, 'pid'), '-H', `unix://${this.socket}`, '--bridge', 'none'],
      ...['--iptables=false', '--ip6tables=false', '--default-address-pool', `base=${this.#pool},size=26`],
      ...(this.#options.liveRestore === true ? ['--live-restore'] : []),
      ...(this.#options.args ?? []),
    ];
  }

  /** It dies with a killed daemon; where nobody takes zombies in, the next daemon would take it for alive. */
  #forgetDeadContainerd(): void {
    if (!this.#containerdLives()) rmSync(join(this.folder, 'exec/containerd/containerd.pid'), { force: true });
  }

  #containerdLives(): boolean {
    const path = join(this.folder, 'exec/containerd/containerd.pid');
    if (!existsSync(path)) return false;
    const facts = readProcess(Number(readFileSync(path, 'utf8')));
    return facts !== undefined && facts.state !== 'Z';
  }

  async #answers(): Promise<boolean> {
    const answer = await callDocker(this.socket, 'GET', '/_ping').catch(() => undefined);
    return answer?.status === 200;
  }

  async #end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    const limit = setTimeout(() => child.kill('SIGKILL'), END_LIMIT_MS);
    await gone;
    clearTimeout(limit);
    this.#child = null;
  }

  async #removeEverything(): Promise<void> {
    const containers = await callDocker(this.socket, 'GET', '/containers/json?all=1');
    const ids = (JSON.parse(containers.text) as { Id: string }[]).map(({ Id }) => Id);
    await Promise.all(ids.map((id) => callDocker(this.socket, 'DELETE', `/containers/${id}?force=1&v=1`)));
    const networks = await callDocker(this.socket, 'GET', '/networks');
    for (const { Id, Name } of JSON.parse(networks.text) as { Id: string; Name: string }[]) {
      if (!['host', 'none', 'bridge'].includes(Name)) await callDocker(this.socket, 'DELETE', `/networks/${Id}`);
    }
  }

  /** A killed daemon leaves containerd, its shims and what runs in them: all of these name our folder. */
  async #endSurvivors(): Promise<void> {
    const deadline = Date.now() + END_LIMIT_MS;
    for (;;) {
      const pids = this.#survivors();
      if (pids.length === 0) return;
      if (Date.now() > deadline) throw new Error(`cannot end what ${this.folder} started: ${pids.join(', ')}`);
      for (const pid of pids) signal(pid);
      await pause();
    }
  }

  #survivors(): number[] {
    const named = new Set<number>();
    const parents = new Map<number, number>();
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid)) continue;
      const facts = readProcess(pid);
      if (facts === undefined || facts.state === 'Z') continue;
      parents.set(pid, facts.parent);
      if (facts.command.includes(`${this.folder}/`) && !facts.command.startsWith('docker\0')) named.add(pid);
    }
    for (const [pid, parent] of parents) if (named.has(parent)) named.add(pid);
    named.delete(process.pid);
    return [...named];
  }

  #clean(): void {
    const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
    const ours = mounts.map((line) => line.split(' ')[1] ?? '').filter((path) => path.startsWith(`${this.folder}/`));
    for (const path of ours.toReversed()) spawnSync('umount', ['-l', path], { stdio: 'ignore' });
    for (const bridge of this.#bridges()) spawnSync('ip', ['link', 'delete', bridge], { stdio: 'ignore' });
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Bridges whose network the daemon could not remove any more, because it had been killed. */
  #bridges(): string[] {
    const listed = spawnSync('ip', ['-o', '-4', 'address'], { encoding: 'utf8' }).stdout ?? '';
    const [first, second, third] = this.#pool.split('.');
    const base = `${first}.${second}`;
    return listed.split('\n').flatMap((line) => {
      const found = /^\d+:\s+(br-[0-9a-f]{12})\s+inet (\d+\.\d+)\.(\d+)\./.exec(line);
      if (found?.[2] !== base || (Number(found[3]) & 0xf0) !== Number(third)) return [];
      return found[1] ?? [];
    });
  }

  #log(): string {
    return readFileSync(join(this.folder, 'log'), 'utf8').split('\n').slice(-15).join('\n');
  }

  readonly #endAtExit = (): void => {
    for (let turn = 0; turn < 3; turn += 1) for (const pid of this.#survivors()) signal(pid);
    if (existsSync(this.folder)) this.#clean();
  };
}

function mountMemory(path: string, mib: number): void {
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', path]);
  if (status !== 0) throw new Error(`no file system of ${mib} MiB: ${String(stderr)}`);
}

interface ProcessFacts {
  readonly state: string;
  readonly parent: number;
  readonly command: string;
}

function readProcess(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', parent = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state, parent: Number(parent), command: readFileSync(`/proc/${pid}/cmdline`, 'utf8') };
  } catch {
    // Gone meanwhile.
    return undefined;
  }
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone meanwhile.
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
}
