/** CPU time and memory of processes as Linux accounts for them, and what else the machine is doing. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const NANO = 1e-9;
const KIB = 1024;
/** Ticks of /proc/stat and /proc/PID/stat per second: a constant of the kernel's interface to programs. */
const TICKS = 100;

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** These processes and all their descendants that are there now. */
export function processTree(roots: readonly number[]): number[] {
  const tree = new Set(roots);
  for (;;) {
    const before = tree.size;
    for (const pid of [...tree]) {
      for (const task of list(`/proc/${pid}/task`)) {
        for (const child of read(`/proc/${pid}/task/${task}/children`).split(' ')) if (child) tree.add(Number(child));
      }
    }
    if (tree.size === before) return [...tree];
  }
}

export const commandLine = (pid: number): string => read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');

/** Seconds on a CPU so far, over all threads: the scheduler's own count where it keeps one, ticks of 10 ms where not. */
export function cpuSeconds(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) {
    const tasks = list(`/proc/${pid}/task`);
    const exact = tasks.map((task) => Number(read(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0] ?? 0));
    const sum = exact.reduce((one, other) => one + other, 0);
    total += sum > 0 ? sum * NANO : tickSeconds(pid);
  }
  return total;
}

/** proc(5): fields 14 and 15, counted from the end of the name, which may hold anything. */
function tickSeconds(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS;
}

/** Proportional set size in bytes. */
export function pss(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) total += Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);
  return total * KIB;
}

/** Ticks by kind since boot: user, nice, system, idle, iowait, irq, softirq, steal. */
const machineTicks = (): number[] =>
  read('/proc/stat').slice(0, 200).split('\n')[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];

/** Seconds that all CPUs have been busy since boot. */
export function busySeconds(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = machineTicks();
  return (user + nice + system + irq + softirq) / TICKS;
}

/** Seconds in which a CPU had work and the host ran somebody else. */
export const stolenSeconds = (): number => (machineTicks()[7] ?? 0) / TICKS;

export function pin(pid: number, cpu: number): void {
  try {
    execFileSync('taskset', ['-acp', String(cpu), String(pid)], { stdio: 'ignore' });
  } catch {
    // Without taskset the figures are noisier, not wrong.
  }
}

/** Waits until the machine does little else, at most `limit` seconds. */
export async function quiet(limit: number): Promise<void> {
  const deadline = performance.now() + limit * 1_000;
  while (performance.now() < deadline) {
    const [busy, at] = [busySeconds(), performance.now()];
    await new Promise((resolve) => setTimeout(resolve, 300));
    if ((busySeconds() - busy) / ((performance.now() - at) / 1_000) < 0.2) return;
  }
}
