import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Longer without a sign of life means gone, for those who cannot see the process itself. */
const BEAT_STALE_MS = 5000;
const BEAT_MS = 1000;

/** A process, named so that no other ever has the same name on this machine. */
export interface Owner {
  readonly pid: number;
  /** Of its pids; empty where there are none. */
  readonly namespace: string;
  /** In clock ticks since boot: pids come again. */
  readonly started: string;
}

export function ownerOf(pid: number): Owner {
  return { pid, namespace: namespaceOf('self'), started: startOf(String(pid)) };
}

export const ownerKey = ({ pid, namespace, started }: Owner): string =>
  namespace === '' ? String(pid) : `${pid}-${namespace}-${started}`;

export function parseOwner(key: string): Owner {
  const [pid = '', namespace = '', started = ''] = key.split('-');
  return { pid: Number(pid), namespace, started };
}

const here = namespaceOf('self');

export const ownNamespace = here;

/** It lives in the namespace of this process, which so can see it. */
export function isNeighbour(owner: Owner): boolean {
  return owner.namespace === '' || owner.namespace === here;
}

/** @returns whether a process of this namespace lives, and is no zombie that nobody waited for. */
export function lives({ pid, started }: Owner): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const stat = statOf(String(pid));
  if (stat === undefined) return true;
  return stat[0] !== 'Z' && (started === '' || stat[START_FIELD] === started);
}

/**
 * Pids, as this namespace numbers them, of processes of namespaces below it, by owner key. Empty for a process that sees
 * no others, as in a container.
 */
export function visiblePids(): Map<string, number> {
  const found = new Map<string, number>();
  let names: string[] = [];
  try {
    names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return found;
  }
  for (const name of names) {
    const namespace = namespaceOf(name);
    if (namespace === '' || namespace === here) continue;
    const inner = innermostPid(name);
    const started = startOf(name);
    if (inner !== undefined && started !== '') found.set(ownerKey({ pid: inner, namespace, started }), Number(name));
  }
  return found;
}

/** Shows others that this owner lives, until it is stopped or the process ends. */
export function startBeating(path: string, key: string): () => void {
  const file = beatFile(path, key);
  const beat = (): void => {
    try {
      mkdirSync(`${path}.beats`, { recursive: true });
      writeFileSync(file, '');
    } catch {
      // The folder may be gone with the test that made it.
    }
  };
  beat();
  const timer = setInterval(beat, BEAT_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    dropBeat(path, key);
  };
}

export function dropBeat(path: string, key: string): void {
  rmSync(beatFile(path, key), { force: true });
}

export function beats(path: string, key: string): boolean {
  try {
    return Date.now() - statSync(beatFile(path, key)).mtimeMs < BEAT_STALE_MS;
  } catch {
    return false;
  }
}

const beatFile = (path: string, key: string): string => join(`${path}.beats`, key);

function namespaceOf(process: string): string {
  try {
    return /\[(\d+)\]/.exec(readlinkSync(`/proc/${process}/ns/pid`))?.[1] ?? '';
  } catch {
    return '';
  }
}

/** Position of the start time behind the name of the command. */
const START_FIELD = 19;

/** Fields of `/proc/PID/stat` behind the name of the command, which may hold anything. */
function statOf(process: string): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${process}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

function startOf(process: string): string {
  return statOf(process)?.[START_FIELD] ?? '';
}

function innermostPid(process: string): number | undefined {
  try {
    const line = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${process}/status`, 'utf8'))?.[1];
    return line === undefined ? undefined : Number(line.trim().split(/\s+/).at(-1));
  } catch {
    return undefined;
  }
}
