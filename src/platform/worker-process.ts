/** Processes of our own program that serve beside this one: started with a pipe to talk over, and handed connections. */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ChildExit } from './platform.ts';

/** Its place among the descriptors of a worker, after the three of every process and the channel of Node. */
const LINK = 4;

export interface WorkerProcess {
  readonly pid: number;
  /** Resolves once. Its sockets and its end of the link are closed by then. */
  readonly exited: Promise<ChildExit>;
  /** Both ways, in order; ends with the worker. */
  readonly link: Duplex;
  /** A structured clone; `connection` goes with it, and is open here too until it is destroyed. Lost when the worker is gone. */
  send(parcel: object, connection?: Socket): void;
  kill(): void;
}

/** Rejects when it cannot be started. Its stderr is ours: what the engine of JavaScript says when it dies. */
export async function startWorkerProcess(program: string): Promise<WorkerProcess> {
  const child = spawn(process.execPath, [...process.execArgv, program], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc', 'pipe'],
    serialization: 'advanced',
    // A group of its own: what a terminal tells every process of ours would end one that still loads.
    detached: true,
  });
  const exited = new Promise<ChildExit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  // What cannot be sent any more is told by `exited`.
  child.on('error', () => undefined);
  const { pid } = child;
  if (pid === undefined) throw new Error('a started process has no pid');
  return {
    pid,
    exited,
    link: child.stdio[LINK] as Duplex,
    send: (parcel, connection) => {
      // Node would let go of it at once, and where the worker is dead already, for good: its client would wait for ever.
      if (child.connected) child.send(parcel, connection, { keepOpen: true }, () => undefined);
      else connection?.destroy();
    },
    kill: () => void child.kill('SIGKILL'),
  };
}

/** The other side: this process is a worker. */
export interface WorkerSide {
  readonly link: Duplex;
  /** `connection` is absent where its client was gone before it arrived. */
  onParcel(run: (parcel: object, connection: Socket | undefined) => void): void;
  /** The process that started this one is gone. */
  onOrphaned(run: () => void): void;
}

/** Null when this process was not started as a worker. */
export function workerSide(): WorkerSide | null {
  if (process.send === undefined) return null;
  const link = new Socket({ fd: LINK, readable: true, writable: true });
  return {
    link,
    onParcel: (run) => {
      process.on('message', (parcel, connection) => run(parcel as object, connection as Socket | undefined));
    },
    onOrphaned: (run) => {
      process.once('disconnect', run);
      link.once('close', run);
    },
  };
}
