/** What /proc tells. Everything may vanish between two reads; a process that did is simply not there. */
import { readdir, readFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import type { ProcessFacts } from './platform.ts';

/** Reading one /proc/PID/stat takes some ten microseconds: this many are read before others get their turn. */
const STAT_SLICE = 64;
/** Reading an environment may wait for a lock of that process, so these reads are asynchronous. */
const ENVIRONMENT_READERS = 16;

const STATE = 0;
const PARENT = 1;
const GROUP = 2;
const START_TIME = 19;

/**
 * Reads a line of /proc/PID/stat (proc_pid_stat(5)). The command stands in parentheses and may itself hold spaces and
 * parentheses, so the fields are counted from the last one.
 */
export function parseStat(text: string): ProcessFacts | undefined {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return undefined;
  const fields = text.slice(close + 2).split(' ');
  const facts: ProcessFacts = {
    pid: Number.parseInt(text, 10),
    parent: Number(fields[PARENT]),
    group: Number(fields[GROUP]),
    startTime: Number(fields[START_TIME]),
    state: fields[STATE] ?? '',
    command: text.slice(open + 1, close),
  };
  const whole = [facts.pid, facts.parent, facts.group, facts.startTime].every((value) => Number.isSafeInteger(value));
  return whole && facts.state !== '' ? facts : undefined;
}

/** Dead, dying or waiting to be reaped: none of them holds memory or sockets. */
export function isLive(facts: ProcessFacts): boolean {
  return facts.state !== 'Z' && facts.state !== 'X' && facts.state !== 'x';
}

export async function inspect(pid: number): Promise<ProcessFacts | undefined> {
  return statOf(String(pid));
}

export async function liveProcesses(): Promise<readonly ProcessFacts[]> {
  const found: ProcessFacts[] = [];
  const pids = await allPids();
  for (let from = 0; from < pids.length; from += STAT_SLICE) {
    if (from > 0) await turn();
    for (const pid of pids.slice(from, from + STAT_SLICE)) {
      const facts = statOf(pid);
      if (facts !== undefined && isLive(facts)) found.push(facts);
    }
  }
  return found;
}

export async function findByEnvironment(name: string, value: string): Promise<readonly ProcessFacts[]> {
  const wanted = Buffer.from(`${name}=${value}\0`);
  const pids = await allPids();
  const found: ProcessFacts[] = [];
  let next = 0;
  const read = async (): Promise<void> => {
    for (let pid = pids[next++]; pid !== undefined; pid = pids[next++]) {
      if (!(await environmentHolds(pid, wanted))) continue;
      const facts = statOf(pid);
      if (facts !== undefined && isLive(facts)) found.push(facts);
    }
  };
  await Promise.all(Array.from({ length: ENVIRONMENT_READERS }, read));
  return found.toSorted((one, other) => one.pid - other.pid);
}

async function environmentHolds(pid: string, wanted: Buffer): Promise<boolean> {
  let environment: Buffer;
  try {
    environment = await readFile(`/proc/${pid}/environ`);
  } catch (error) {
    // Gone, or another user's: not ours in both cases.
    throwUnlessKnown(error);
    return false;
  }
  for (let at = environment.indexOf(wanted); at >= 0; at = environment.indexOf(wanted, at + 1)) {
    if (at === 0 || environment[at - 1] === 0) return true;
  }
  return false;
}

function statOf(pid: string): ProcessFacts | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    // ENOENT, or ESRCH when it ended between open and read.
    throwUnlessKnown(error);
    return undefined;
  }
}

/** Without a descriptor to look through, nobody may be taken for gone. */
function throwUnlessKnown(error: unknown): void {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM') throw error;
}

async function allPids(): Promise<readonly string[]> {
  return (await readdir('/proc')).filter((name) => /^[1-9]\d*$/.test(name));
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
