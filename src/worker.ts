/** The program of a worker process: started by the gateway when `server.workers` asks for more than one process, never by hand. */
import { controlOwns } from './admin/control-paths.ts';
import { createPlatform } from './platform/system.ts';
import { workerSide } from './platform/worker-process.ts';
import { runWorker } from './workers/worker.ts';

const side = workerSide();
if (side === null) throw new Error('a worker is started by the gateway, not by hand');

// A service manager may send these to every process of ours. The gateway tells its workers when to end.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'] as const) process.on(name, () => undefined);

runWorker({ side, platform: createPlatform(), controlOwns, exit: (code) => process.exit(code) });
