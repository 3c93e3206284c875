/** A machine on paper: its disks, commands and Docker daemon say what a test wrote. */
import type { HttpAnswer } from '../../src/platform/platform.ts';
import type { Machine, Owner, Space } from '../../src/platform/machine.ts';
import { GIB } from '../../src/units.ts';

export class ScriptedMachine implements Machine {
  userId: number | null = 1000;
  /** By the beginning of a path; the longest that fits counts. */
  readonly disks = new Map<string, Space>([['', spaceOf(500 * GIB)]]);
  readonly locked = new Map<string, Owner>();
  readonly commands = new Map<string, string>();
  /** What the daemon answers by path; a string is the code of a failure. */
  docker: string | Readonly<Record<string, unknown>> = 'ENOENT';
  readonly asked: string[] = [];

  async space(path: string): Promise<Space> {
    const [found] = [...this.disks]
      .filter(([at]) => path.startsWith(at))
      .sort(([one], [other]) => other.length - one.length);
    if (!found) throw Object.assign(new Error('no such path'), { code: 'ENOENT' });
    return found[1];
  }

  nearest = async (path: string): Promise<string> => path;
  mayWrite = async (path: string): Promise<boolean> => !this.locked.has(path);
  owner = async (path: string): Promise<Owner | undefined> => this.locked.get(path);
  findCommand = async (name: string): Promise<string | null> => this.commands.get(name) ?? null;

  async getOverSocket(socket: string, path: string): Promise<HttpAnswer> {
    this.asked.push(`${socket} ${path}`);
    if (typeof this.docker === 'string') throw Object.assign(new Error(this.docker), { code: this.docker });
    const answer = this.docker[path];
    return answer === undefined ? { status: 404, body: '{}' } : { status: 200, body: JSON.stringify(answer) };
  }

  async temporaryFolder(name: string): Promise<{ readonly path: string } & AsyncDisposable> {
    return { path: `/tmp/${name}`, [Symbol.asyncDispose]: async () => undefined };
  }
}

export function spaceOf(freeBytes: number, totalBytes = 1_000 * GIB): Space {
  return { freeBytes, totalBytes, freeFiles: 1_000, countsFiles: true };
}
