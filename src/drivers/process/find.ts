/** Is what a record speaks of still there? */
import type { FoundReplica } from '../../core/events.ts';
import type { Platform, ProcessFacts } from '../../platform/platform.ts';
import type { ReplicaRef } from '../../core/state.ts';
import { MARKS, processMark } from './environment.ts';
import { endpointOf, treeOf } from './held.ts';
import type { ReplicaRecord, Records } from './records.ts';
import { leaderIsLive, membersOf } from './stop-tree.ts';

export interface Found {
  readonly record: ReplicaRecord;
  readonly replica: FoundReplica;
}

const BOOT_ID = '/proc/sys/kernel/random/boot_id';

export async function bootOf(platform: Pick<Platform, 'files'>): Promise<string> {
  return (await platform.files.readText(BOOT_ID))?.trim() ?? '';
}

/** null when nothing of it is left. Completes the record when the gateway died before it could write the pid. */
export async function findReplica(platform: Platform, records: Records, record: ReplicaRecord): Promise<Found | null> {
  if (record.boot !== (await bootOf(platform))) return null;
  const complete = record.pid === null || record.startTime === null ? await withPid(platform, records, record) : record;
  const tree = treeOf(complete);
  if (await leaderIsLive(platform, tree)) return { record: complete, replica: foundAs(platform, complete, true) };
  const left = await membersOf(platform, tree);
  if (left.length === 0) return null;
  const names = [...new Set(left.map((facts) => facts.command))].slice(0, 5).join(', ');
  const why = `its main process is gone, but ${left.length} of its processes are left (${names})`;
  return { record: complete, replica: foundAs(platform, complete, why) };
}

/** What still runs of an engine whose record is damaged: nothing else is known of it, so it can only be ended. Null = nothing. */
export async function findDamaged(platform: Platform, gateway: string, replica: ReplicaRef): Promise<Found | null> {
  const marked = await platform.subprocess.findByEnvironment(MARKS.process, processMark(gateway, replica));
  if (marked.length === 0) return null;
  const leader = leaderAmong(marked);
  const record: ReplicaRecord = {
    format: 1,
    gateway,
    id: replica.id,
    generation: replica.generation,
    model: '',
    specHash: '',
    reservations: [],
    host: '127.0.0.1',
    port: null,
    launchedAt: platform.clock.wall(),
    boot: await bootOf(platform),
    pid: leader?.pid ?? null,
    startTime: leader?.startTime ?? null,
  };
  return { record, replica: foundAs(platform, record, 'its record in state_dir is damaged') };
}

async function withPid(platform: Platform, records: Records, record: ReplicaRecord): Promise<ReplicaRecord> {
  const marked = await platform.subprocess.findByEnvironment(MARKS.process, treeOf(record).mark);
  const leader = leaderAmong(marked);
  if (leader === undefined) return record;
  const complete = { ...record, pid: leader.pid, startTime: leader.startTime };
  // On a full disk it is found by its mark once more the next time; that must not hide it or others now.
  await records.write(complete).catch(() => undefined);
  return complete;
}

function leaderAmong(marked: readonly ProcessFacts[]): ProcessFacts | undefined {
  return marked.filter((facts) => facts.pid === facts.group).toSorted(byAge)[0];
}

function byAge(one: ProcessFacts, other: ProcessFacts): number {
  return one.startTime - other.startTime || one.pid - other.pid;
}

function foundAs(platform: Platform, record: ReplicaRecord, usable: true | string): FoundReplica {
  return {
    id: record.id,
    generation: record.generation,
    model: record.model,
    specHash: record.specHash,
    reservations: new Map(record.reservations),
    port: record.port,
    endpoint: endpointOf(record),
    usable,
    ageMs: Math.max(0, platform.clock.wall() - record.launchedAt),
  };
}
