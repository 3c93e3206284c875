/** What the two tables of nvidia-smi say: GPUs with their memory, and processes with theirs. Both probes read them. */
import { GIB, MIB, type Bytes } from '../../units.ts';
import { readTable } from './csv.ts';
import { ProbeError, excerpt } from './probe-error.ts';
import type { DeviceReading, ProbeReading, ProcessReading } from '../probe.ts';

/** Name by uuid, as `devices.list` gives them. */
export type DeviceNames = ReadonlyMap<string, string>;

/** One run of a query: what it printed on both streams, and its exit code (null = ended by a signal). */
export interface QueryOutput {
  readonly text: string;
  readonly errors: string;
  readonly code: number | null;
}

const MIG_FIELD = 'mig.mode.current';
// The name stands last: it is the one cell that may hold a comma.
const GPU_FIELDS = ['uuid', 'memory.total', 'memory.used', 'driver_version', MIG_FIELD, 'name'];
const SPELLINGS: Readonly<Record<string, readonly string[]>> = {
  'memory.total': ['memory.total [MiB]'],
  'memory.used': ['memory.used [MiB]'],
  // Drivers print the longer name, whichever was asked for.
  used_memory: ['used_gpu_memory [MiB]', 'used_memory [MiB]'],
};
const PROCESS_FIELDS = ['gpu_uuid', 'pid', 'used_memory'];

/** A device that holds so much while no process is named hides its processes: those of other pid namespaces are left out. */
const NAMELESS_LIMIT: Bytes = GIB;

/** An argument of nvidia-smi. Drivers before 450 have no MIG and refuse its field. */
export function gpuQuery(withMig: boolean): string {
  return `--query-gpu=${gpuFields(withMig).join(',')}`;
}

export const PROCESS_QUERY = `--query-compute-apps=${PROCESS_FIELDS.join(',')}`;
/** With its header and its units: both are checked. */
export const FORMAT = '--format=csv';

export function refusesMig({ text, errors, code }: QueryOutput): boolean {
  return code !== 0 && /Field "mig\.mode\.current" is not a valid field/i.test(`${text}\n${errors}`);
}

/**
 * The whole reading is refused when any of it is not what was asked for; a GPU whose own cells cannot be read stays in
 * it with its trouble. A GPU that does not answer at all is missing from it.
 * @throws ProbeError
 */
export function toReading(
  gpus: QueryOutput,
  processes: QueryOutput | null,
  names: DeviceNames,
  withMig = true,
): ProbeReading {
  const { devices, driverVersion } = readGpus(gpus, names, withMig);
  return { devices, processes: processes && readProcesses(processes, devices), driverVersion };
}

function readGpus(
  output: QueryOutput,
  names: DeviceNames,
  withMig: boolean,
): { readonly devices: readonly DeviceReading[]; readonly driverVersion: string | null } {
  const lost = /Unable to determine the device handle|GPU is lost/i.test(`${output.text}\n${output.errors}`);
  // With one lost GPU some drivers exit with an error although the rows of the others are right and complete.
  if (output.code !== 0 && !lost) throw new ProbeError(complaint(output));
  const fields = gpuFields(withMig);
  const { rows, remarks } = table(output, fields);
  const devices: DeviceReading[] = [];
  let driverVersion: string | null = null;
  for (const cells of rows) {
    const cell = (field: string): string => cells[fields.indexOf(field)] ?? '';
    if (driverVersion === null && /^\d+(\.\d+)+$/.test(cell('driver_version'))) driverVersion = cell('driver_version');
    // Without its uuid nobody knows which GPU this is: to the rest it is lost.
    if (unknown(cell('uuid')) !== null) continue;
    devices.push(readGpu(cell, names));
  }
  if (devices.length === 0) throw new ProbeError(remarks[0] ?? (excerpt(output.errors) || 'it lists no GPU'));
  if (new Set(devices.map(({ uuid }) => uuid)).size < devices.length) throw new ProbeError('it lists one GPU twice');
  return { devices, driverVersion };
}

function readGpu(cell: (field: string) => string, names: DeviceNames): DeviceReading {
  const uuid = cell('uuid');
  if (!/^[\w-]+$/.test(uuid)) throw new ProbeError(`${JSON.stringify(excerpt(uuid))} is no uuid of a GPU`);
  const total = memory(cell('memory.total'));
  const used = memory(cell('memory.used'));
  const trouble = troubleOf(cell(MIG_FIELD), total, used);
  return {
    id: names.get(uuid) ?? uuid,
    uuid,
    name: unknown(cell('name')) === null ? excerpt(cell('name').replaceAll(/^"|"$/g, '')) : null,
    totalBytes: typeof total === 'number' ? total : 0,
    usedBytes: typeof used === 'number' && trouble === null ? used : null,
    trouble,
  };
}

function troubleOf(mig: string, total: Bytes | string, used: Bytes | string): string | null {
  if (/^enabled$/i.test(mig)) return 'it is split into MIG instances, which are not planned on';
  for (const value of [total, used]) {
    if (typeof value === 'number') continue;
    return /lost/i.test(value) ? 'the GPU is lost' : `its memory cannot be read: nvidia-smi says ${value}`;
  }
  if (total === 0) return 'its memory cannot be read: nvidia-smi says 0 MiB';
  return used > total ? 'its memory cannot be read: nvidia-smi says that more is used than there is' : null;
}

/** Null when the answer cannot tell who holds what. */
function readProcesses(output: QueryOutput, devices: readonly DeviceReading[]): readonly ProcessReading[] | null {
  if (output.code !== 0) return null;
  const ids = new Map(devices.map(({ uuid, id }) => [uuid, id]));
  const found = new Map<string, ProcessReading>();
  for (const [uuid = '', number = '', used = ''] of table(output, PROCESS_FIELDS).rows) {
    const deviceId = ids.get(uuid);
    const bytes = memory(used);
    if (unknown(uuid) !== null || unknown(number) !== null || typeof bytes === 'string') return null;
    const pid = /^[1-9]\d{0,9}$/.test(number) ? Number(number) : undefined;
    if (pid === undefined) throw new ProbeError(`${JSON.stringify(excerpt(number))} is no process id`);
    // Of a GPU that is missing above, or of a MIG instance.
    if (deviceId === undefined) continue;
    const key = `${deviceId} ${pid}`;
    found.set(key, { deviceId, pid, bytes: bytes + (found.get(key)?.bytes ?? 0) });
  }
  const hidden = found.size === 0 && devices.some(({ usedBytes }) => (usedBytes ?? 0) > NAMELESS_LIMIT);
  return hidden ? null : [...found.values()];
}

/** Bytes, or what stands there instead. @throws ProbeError when that is neither a number of MiB nor a known word for unknown. */
function memory(cell: string): Bytes | string {
  const [, mib] = /^(\d{1,9}) MiB$/.exec(cell) ?? [];
  if (mib !== undefined) return Number(mib) * MIB;
  const word = unknown(cell);
  if (word === null) throw new ProbeError(`${JSON.stringify(excerpt(cell))} is no amount of memory in MiB`);
  return word;
}

/** What nvidia-smi writes where it does not know, as it is written; null when the cell holds a value. */
function unknown(cell: string): string | null {
  return /^(\[.*\]|N\/A|ERR!|Unknown Error|GPU is lost\.?|-|)$/i.test(cell) ? excerpt(cell) || 'nothing' : null;
}

function table(output: QueryOutput, fields: readonly string[]): ReturnType<typeof readTable> {
  try {
    return readTable(
      output.text,
      fields.map((field) => SPELLINGS[field] ?? [field]),
    );
  } catch (error) {
    const stderr = excerpt(output.errors);
    if (output.text.trim() === '' && stderr !== '') throw new ProbeError(stderr);
    throw error;
  }
}

function gpuFields(withMig: boolean): readonly string[] {
  return withMig ? GPU_FIELDS : GPU_FIELDS.filter((field) => field !== MIG_FIELD);
}

/** Why it ended with an error, in its own words where it has any. */
function complaint({ text, errors, code }: QueryOutput): string {
  const said = `${errors}\n${text}`
    .split('\n')
    .map(excerpt)
    .find((line) => line !== '');
  const end = code === null ? 'it was killed' : `it exited with ${code}`;
  return said === undefined ? end : `${end}: ${said}`;
}
