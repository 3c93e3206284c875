/** From a launch spec to a process that will be found again whatever happens to the gateway meanwhile. */
import type { LaunchSpec } from '../../core/launch.ts';
import type { ReplicaRef } from '../../core/state.ts';
import type { StartFailureCause } from '../../errors.ts';
import type { Child } from '../../platform/platform.ts';
import { LaunchError, type DriverContext, type ReplicaIdentity } from '../driver.ts';
import { resolveCommand, SIMULATED_ENGINE } from './command.ts';
import { baseEnvironment, marks } from './environment.ts';
import { bootOf } from './find.ts';
import { fileName } from '../logs/names.ts';
import type { ReplicaRecord, Records } from './records.ts';

export interface Launched {
  readonly record: ReplicaRecord;
  readonly child: Child;
  /** False when the pid could not be written down: the process is found by its environment, and writing is tried again. */
  readonly saved: boolean;
}

const LOOPBACK = '127.0.0.1';

export class Launcher {
  readonly logFolder: string;
  readonly #context: DriverContext;
  readonly #records: Records;

  constructor(context: DriverContext, records: Records) {
    this.#context = context;
    this.#records = records;
    this.logFolder = `${context.stateDir}/logs`;
  }

  logPath(replica: ReplicaRef): string {
    return `${this.logFolder}/${fileName(replica)}.log`;
  }

  async launch(spec: LaunchSpec, identity: ReplicaIdentity, logPath: string): Promise<Launched> {
    const argv = await this.#command(spec);
    await this.#checkPort(spec);
    const intent = await this.#writeIntent(spec, identity);
    let child: Child;
    try {
      child = await this.#spawn(argv, spec, identity, logPath);
    } catch (error) {
      await this.#records.remove(identity);
      await this.#removeEmptyLog(logPath);
      throw spawnFailure(error, spec.argv[0] ?? '');
    }
    // It runs: not to know its start time for now must not lose it. Its mark leads to it as well.
    const facts = await this.#context.platform.subprocess.inspect(child.pid).catch(() => undefined);
    const record: ReplicaRecord = { ...intent, pid: child.pid, startTime: facts?.startTime ?? null };
    try {
      await this.#records.write(record);
      return { record, child, saved: true };
    } catch {
      return { record, child, saved: false };
    }
  }

  async #command(spec: LaunchSpec): Promise<readonly string[]> {
    if (spec.argv.length === 0) throw new LaunchError('bad_arguments', 'the model has no command to run.');
    const argv = resolveCommand(spec.argv, this.#context.platform.executable);
    const entry = argv[1];
    if (spec.argv[0] !== SIMULATED_ENGINE || entry === undefined) return argv;
    if ((await this.#context.platform.files.stat(entry)) !== undefined) return argv;
    throw new LaunchError(
      'bad_arguments',
      `the built-in ${SIMULATED_ENGINE} is not built; run \`npm run build\` once.`,
    );
  }

  /** An engine finds out only after it has loaded half of itself, tens of seconds later. */
  async #checkPort(spec: LaunchSpec): Promise<void> {
    if (spec.port === null) return;
    if (await this.#context.platform.subprocess.portIsFree(spec.host, spec.port)) return;
    throw new LaunchError(
      'port_in_use',
      `port ${spec.port} of drivers.process.port_range is taken by another program.`,
    );
  }

  async #writeIntent(spec: LaunchSpec, identity: ReplicaIdentity): Promise<ReplicaRecord> {
    const { platform, gatewayId } = this.#context;
    const record: ReplicaRecord = {
      format: 1,
      gateway: gatewayId,
      id: identity.id,
      generation: identity.generation,
      model: identity.model,
      specHash: identity.specHash,
      reservations: [...identity.reservations],
      host: spec.host === '' ? LOOPBACK : spec.host,
      port: spec.port,
      launchedAt: platform.clock.wall(),
      boot: await bootOf(platform),
      pid: null,
      startTime: null,
    };
    try {
      await this.#records.prepare();
      await platform.files.makeFolder(this.logFolder, 0o700);
      await this.#records.write(record);
    } catch (error) {
      throw new LaunchError('driver_unavailable', `server.state_dir cannot be written (${codeOf(error)}).`);
    }
    return record;
  }

  /** Nobody would ever remove it: logs are counted when an engine runs. */
  async #removeEmptyLog(path: string): Promise<void> {
    const { files } = this.#context.platform;
    try {
      if ((await files.stat(path))?.size === 0) await files.remove(path);
    } catch {
      // The failed start is what is to be told.
    }
  }

  async #spawn(argv: readonly string[], spec: LaunchSpec, identity: ReplicaIdentity, logPath: string): Promise<Child> {
    const { platform, gatewayId } = this.#context;
    const output = await platform.files.openAppend(logPath);
    try {
      const env = { ...baseEnvironment(platform.env), ...spec.env, ...marks(gatewayId, identity) };
      return await platform.subprocess.spawn(argv, { env, output });
    } finally {
      await platform.files.closeDescriptor(output);
    }
  }
}

const SET_COMMAND = 'Set drivers.process.command or the command of the model.';

const SPAWN_FAILURES: Readonly<Record<string, readonly [StartFailureCause, string]>> = {
  ENOENT: ['bad_arguments', `is not installed here or not in PATH. ${SET_COMMAND}`],
  EACCES: ['bad_arguments', 'may not be executed by the user of the gateway.'],
  ENOEXEC: ['bad_arguments', 'is not a program for this machine.'],
  ENOTDIR: ['bad_arguments', 'is not a path to a program.'],
  ELOOP: ['bad_arguments', 'is not a path to a program.'],
  E2BIG: ['bad_arguments', 'gets more arguments than the system allows.'],
};

export function spawnFailure(error: unknown, word: string): LaunchError {
  const code = codeOf(error);
  const name = word.split('/').at(-1) ?? word;
  const known = SPAWN_FAILURES[code];
  // Clients read this too, so the path itself stays out; that it is a path helps whoever wrote it.
  if (code === 'ENOENT' && word.includes('/'))
    return new LaunchError(
      'bad_arguments',
      `the command '${name}' does not exist at the configured path. ${SET_COMMAND}`,
    );
  if (known) return new LaunchError(known[0], `the command '${name}' ${known[1]}`);
  if (code.startsWith('ERR_'))
    return new LaunchError('bad_arguments', `the command '${name}' cannot be run (${code}).`);
  return new LaunchError('driver_unavailable', `the system cannot start another process now (${code}).`);
}

export function codeOf(error: unknown): string {
  return (error as { readonly code?: string } | null)?.code ?? String(error);
}
