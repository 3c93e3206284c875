/** CPU time and memory of processes as Linux accounts for them, and what else the machine is doing. */
import { readdirSync, readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';

const NANO = 1e-9;
const KIB = 1024;
/** Ticks of /proc/stat per second: a constant of the kernel's interface to programs. */
const TICKS = 100;

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
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

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Seconds on a CPU so far, over all threads. */
export function cpuSeconds(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) {
    for (const task of list(`/proc/${pid}/task`))
      total += Number(read(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0]);
  }
  return total * NANO;
}

/** Proportional set size in bytes. */
export function pss(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) total += Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);
  return total * KIB;
}

/** Seconds that all CPUs have been busy since boot. */
export function busySeconds(): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] =
    read('/proc/stat').split('\n')[0]?.split(/\s+/).map(Number) ?? [];
  return (user + nice + system + irq + softirq) / TICKS;
}

export function pin(pid: number, cpu: number): void {
  try {
    execFileSync('taskset', ['-acp', String(cpu), String(pid)], { stdio: 'ignore' });
  } catch {
    // Without taskset the figures are noisier, not wrong.
  }
}
