/** Commands about this machine as real processes: on a terminal, in real shells, before a real (small) disk. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/doctor/finding.ts';
import { builtProgram } from '../support/built-program.ts';
import { runCommand } from '../support/command.ts';
import { eventually } from '../support/eventually.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';

const ENTER = '\u001b[?1049h';
const LEAVE = '\u001b[?25h\u001b[?1049l';

let gateway: TestGateway;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vgw-machine-'));
  gateway = await startTestGateway({
    yaml: gatewayYaml({ 'org/chatty:8b': { repo: 'org/chatty', aliases: ['chatty'], env: QUICK } }),
  });
  const command = join(folder, 'vllm-gateway');
  await writeFile(command, `#!/bin/sh\nexec '${process.execPath}' '${builtProgram()}' "$@"\n`);
  chmodSync(command, 0o755);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const environment = (): Record<string, string> => ({
  PATH: `${folder}:${process.env['PATH'] ?? ''}`,
  HOME: folder,
  GATEWAY_URL: gateway.url,
  LANG: 'C.UTF-8',
  TERM: 'xterm-256color',
});

/** `status --watch` on a terminal of its own, from its first picture on. */
async function watched(env: Readonly<Record<string, string>> = {}) {
  const command = `stty rows 20 cols 100; exec vllm-gateway status --watch`;
  const child = spawn('script', ['-qfec', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...environment(), ...env },
  });
  const terminal = { text: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    terminal.text += text;
  });
  const exit = once(child, 'close').then(([code]) => code as number | null);
  await eventually('a picture is drawn', () => terminal.text.includes('org/chatty:8b'));
  return { child, terminal, exit };
}

/** What runs on the terminal. */
function commandOf(script: ChildProcess): number {
  return Number(execFileSync('pgrep', ['-P', String(script.pid)], { encoding: 'utf8' }).split('\n')[0]);
}

describe('status --watch', () => {
  it('gives the terminal back when it is told to end', async () => {
    const { child, terminal, exit } = await watched();
    const [pid = ''] = execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n');
    process.kill(Number(pid), 'SIGTERM');
    expect(await exit).toBe(143);
    expect(terminal.text.startsWith(ENTER)).toBe(true);
    expect(terminal.text.endsWith(LEAVE)).toBe(true);
  });

  it('leaves on q, unseen on the screen', async () => {
    const { child, terminal, exit } = await watched();
    child.stdin.write('xq');
    expect(await exit).toBe(0);
    expect(terminal.text.endsWith(LEAVE)).toBe(true);
    expect(terminal.text).not.toContain('xq');
  });

  it('gives the terminal back before it tells of a crash', async () => {
    const crash = `data:text/javascript,${encodeURIComponent("process.on('SIGUSR2',()=>{throw new Error('boom')})")}`;
    const { child, terminal, exit } = await watched({ NODE_OPTIONS: `--import ${crash}` });
    process.kill(commandOf(child), 'SIGUSR2');
    expect(await exit).toBe(70);
    expect(terminal.text.indexOf('boom')).toBeGreaterThan(terminal.text.indexOf(LEAVE));
  });
});

describe('completion', () => {
  const BASH = `
    source <(vllm-gateway completion bash)
    ask() {
      COMP_LINE="$1" COMP_POINT=\${#1}
      read -r -a COMP_WORDS <<< "$1"; [[ $1 == *' ' ]] && COMP_WORDS+=("")
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      _vllm_gateway; printf '%s|' "\${COMPREPLY[@]}"; echo
    }
    complete -p vllm-gateway
    ask 'vllm-gateway doc'; ask 'vllm-gateway load '; ask 'vllm-gateway load org/chatty:'
    cd /; ask 'vllm-gateway check --config tm'`;
  const ZSH = `
    autoload -U compinit && compinit -u -D
    source <(vllm-gateway completion zsh)
    _describe() { eval 'print -rl -- "\${'$4'[@]}"' }
    words=(vllm-gateway doc) CURRENT=2; _vllm_gateway
    words=(vllm-gateway load '') CURRENT=3; _vllm_gateway`;
  const FISH = `
    vllm-gateway completion fish | source
    complete -C 'vllm-gateway doc'
    complete -C 'vllm-gateway load '`;
  const SHELLS: readonly (readonly [string, readonly string[], string, readonly string[]])[] = [
    [
      'bash',
      ['--norc', '-c'],
      BASH,
      ['complete -F _vllm_gateway vllm-gateway', 'doctor|', 'org/chatty:8b|chatty|', '8b|', 'tmp|'],
    ],
    ['zsh', ['-f', '-c'], ZSH, ['doctor:look at', 'org/chatty\\:8b', 'chatty']],
    ['fish', ['--no-config', '-c'], FISH, ['doctor\tlook at', 'org/chatty:8b', 'chatty']],
  ];
  const here = SHELLS.filter(([shell]) => spawnSync('which', [shell]).status === 0);

  it.each(here)('offers commands, options, files and models in %s', async (shell, args, script, offered) => {
    const child = spawn(shell, [...args, script], { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] });
    let [text, errors] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    child.stderr.setEncoding('utf8').on('data', (piece: string) => (errors += piece));
    await once(child, 'close');
    expect(errors).toBe('');
    const lines = text.trim().split('\n').toSorted();
    expect(lines.map((line, index) => line.startsWith(offered.toSorted()[index] ?? '?') || line)).toEqual(
      offered.map(() => true),
    );
  });
});

const GPUS = [
  'uuid, memory.total [MiB], memory.used [MiB], driver_version, mig.mode.current, name',
  'GPU-real, 24564 MiB, 512 MiB, 580.95.05, [N/A], NVIDIA L4',
].join('\n');
const APPS = 'gpu_uuid, pid, used_gpu_memory [MiB]';

/** Root may mount in a mount namespace of its own, others also need a user namespace. */
const mountRights = (): string => (process.getuid?.() === 0 ? '-m' : '-rm');

describe('doctor, check and init', () => {
  it('name a typo, a missing Docker socket and a full disk, each with the remedy', async () => {
    const full = join(folder, 'full');
    await mkdir(full);
    const file = join(folder, 'wrong.yaml');
    const socket = join(folder, 'no-docker.sock');
    const server = `server: { listen: "127.0.0.1:0", state_dir: ${full}/state }\n`;
    const yaml = `${server}devices: { probe: none }\ndrivers: { docker: { socket: ${socket} } }\nmodels: { m: { repo: /m } }\n`;
    await writeFile(file, yaml);
    // A disk of one MiB, seen by the command alone.
    const small = (...args: readonly string[]): { status: number | null; stdout: string; stderr: string } =>
      spawnSync(
        'unshare',
        [mountRights(), 'sh', '-c', `mount -t tmpfs -o size=1m tmpfs "$0" && exec vllm-gateway "$@"`, full, ...args],
        { encoding: 'utf8', env: environment() },
      );
    const doctor = small('doctor', '--json', '--config', file);
    expect(doctor.status).toBe(1);
    const { checks } = JSON.parse(doctor.stdout) as { checks: readonly Finding[] };
    const problems = checks.filter(({ state }) => state === 'problem');
    expect(problems.map(({ check }) => check)).toEqual(['docker', 'disk']);
    expect(problems.every(({ remedy }) => remedy !== null)).toBe(true);
    const check = small('check', '--config', file);
    expect(check.stderr).toContain(`There is no Docker socket ${socket}.`);
    expect(check.stderr).toContain('(server.state_dir) is full: 1MiB of 1MiB free');
    await writeFile(file, `${yaml}limits: { max_queue_sise: 1 }\n`);
    const typo = await runCommand(['doctor', '--config', file], { env: environment() });
    expect(typo.code).toBe(1);
    expect(typo.stdout.replaceAll(/\s+/g, ' ')).toContain('did you mean "max_queue_size"');
  });

  it('name a GPU that is not there, and those that are', async () => {
    const probe = join(folder, 'shows-one-gpu');
    await writeFile(
      probe,
      `#!/bin/sh\ncase "$1" in --query-gpu=*) cat <<END\n${GPUS}\nEND\n;; *) echo '${APPS}' ;; esac\n`,
    );
    chmodSync(probe, 0o755);
    const file = join(folder, 'gpus.yaml');
    const devices = `devices: { probe: nvidia-smi, command: ${probe} }\ndrivers: { default: process }\n`;
    await writeFile(file, `${devices}pools: { fast: [GPU-typo] }\nmodels: { m: { repo: /m, pool: fast } }\n`);
    const [checked, doctor] = await Promise.all(
      ['check', 'doctor'].map((name) => runCommand([name, '--config', file], { env: environment() })),
    );
    const told = "This machine has no such GPU: GPU-typo (pool 'fast'). It has: GPU-real (NVIDIA L4, 24GiB).";
    expect(checked).toMatchObject({ code: 1, stderr: expect.stringContaining(`error: this machine: pools: ${told}`) });
    expect(doctor?.code).toBe(1);
    expect(doctor?.stdout.replaceAll(/\s+/g, ' ')).toContain(`problem gpus ${told} → Write one of those into pools`);
  });

  it('init writes what check accepts on this machine, and never overwrites', async () => {
    const cwd = await mkdtemp(join(folder, 'init-'));
    const written = await runCommand(['init'], { cwd, env: environment() });
    expect(written).toMatchObject({ code: 0, stderr: '' });
    const checked = await runCommand(['check', '--strict'], { cwd, env: environment() });
    expect(checked.code).toBe(0);
    const before = readFileSync(join(cwd, 'gateway.yaml'), 'utf8');
    expect((await runCommand(['init'], { cwd, env: environment() })).code).toBe(1);
    expect(readFileSync(join(cwd, 'gateway.yaml'), 'utf8')).toBe(before);
  });
});

describe('bench', () => {
  const left = (): readonly string[] => readdirSync(folder).filter((name) => name.startsWith('vllm-gateway-bench'));

  it('measures the gateway beside a relay, and leaves nothing', async () => {
    const { code, stdout } = await runCommand(['bench', '--json'], { env: { ...environment(), TMPDIR: folder } });
    expect(code).toBe(0);
    const {
      targets,
      faults,
      took_s: took,
    } = JSON.parse(stdout) as {
      targets: Record<
        string,
        { requests_per_s: number; stream_events_per_s: number; cpu_ms_per_request: number | null }
      >;
      faults: number;
      took_s: number;
    };
    expect(faults).toBe(0);
    expect(took).toBeLessThan(20);
    for (const name of ['engine', 'relay', 'gateway']) {
      expect(targets[name]?.requests_per_s).toBeGreaterThan(0);
      expect(targets[name]?.stream_events_per_s).toBeGreaterThan(0);
    }
    expect(targets['gateway']?.cpu_ms_per_request).toBeGreaterThan(0);
    expect(left()).toEqual([]);
  });

  it('stops in the middle when it is told to, and leaves no process', async () => {
    const child = spawn(process.execPath, [builtProgram(), 'bench'], {
      env: { ...environment(), TMPDIR: folder },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const exit = once(child, 'close').then(([code]) => code as number | null);
    let told = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (told += text));
    await eventually('a round has begun', () => told.includes('round 1'));
    const children = execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n');
    const engines = children.flatMap((pid) => spawnSync('pgrep', ['-P', pid], { encoding: 'utf8' }).stdout.split('\n'));
    child.kill('SIGTERM');
    expect(await exit).toBe(143);
    const pids = [...children, ...engines].filter((pid) => pid !== '');
    expect(pids.length).toBeGreaterThanOrEqual(3);
    await eventually('all of them are gone', () => pids.every((pid) => !existsSync(`/proc/${pid}`)));
    expect(left()).toEqual([]);
  });
});
