/**
 * Clients that stop to read, before an engine that sends as fast as it is read: what is held for each of them is bounded.
 *
 * On a loopback the kernel itself keeps megabytes for each, outside of any process. Thousands need a network of their own
 * with small buffers:
 *
 *     unshare -n sh -c 'ip link set lo up; echo 4096 16384 65536 >/proc/sys/net/ipv4/tcp_wmem
 *       echo 4096 65536 131072 >/proc/sys/net/ipv4/tcp_rmem; npm run load -- stalled --long'
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { eventually } from '../../../test/support/eventually.ts';
import { baselineOf, restAfter } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { pause } from '../generator.ts';
import { CHAT } from '../question.ts';
import type { Form } from './form.ts';

const ENGINE = fileURLToPath(new URL('../fast-engine.mjs', import.meta.url));
const BODY = '{"model":"stalled","stream":true,"messages":[{"role":"user","content":"go on"}]}';
const KIB = 1_024;
const MIB = KIB * KIB;
/** One reading that waits for the client, one that came before the engine's connection was told to wait, and their rests. */
const PER_STREAM_KIB = 256;
/** With the objects of two connections and an exchange, and what lies between them in memory. */
const RSS_PER_STREAM_KIB = 320;
/** Of code and heap that do not grow with the streams. */
const FIXED_MIB = 64;
const READERS = { short: 40, long: 5_000 };
/** At once on their way to be accepted. */
const AT_ONCE = 100;
const STILL_WITHIN_MS = 120_000;
const BETWEEN_LOOKS_MS = 1_000;
/** So many looks in a row at which the engine has sent next to nothing more: the kernel asks now and then whether it may. */
const STILL_LOOKS = 3;
const STILL_KIB = 4;
/** Of each stream, while nobody reads. */
const DRIPS_KIB = 256;
const WATCHED_LOOKS = { short: 3, long: 60 };

/** As its command line says. */
function portOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')[2] ?? '';
}

function largestBuffers(): string {
  const most = (which: string): number =>
    Number(readFileSync(`/proc/sys/net/ipv4/${which}`, 'latin1').trim().split(/\s+/)[2] ?? 0) / KIB;
  return `${most('tcp_wmem')}, ${most('tcp_rmem')}`;
}

interface Told {
  readonly streams: number;
  readonly bytes: number;
}

/** Asks, takes the first piece, and reads nothing more. */
async function stall(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  socket.write(
    `POST ${CHAT} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`,
  );
  const [first] = (await once(socket, 'data')) as [Buffer];
  socket.pause();
  if (!first.toString('latin1').startsWith('HTTP/1.1 200 ')) throw new Error(first.toString('latin1', 0, 300));
  return socket;
}

async function stallMany(port: number, count: number, say: (text: string) => void): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - sockets.length) }, () => stall(port));
    sockets.push(...(await Promise.all(some)));
    if (sockets.length % 1_000 === 0) say(`${sockets.length} read nothing more`);
  }
  return sockets;
}

async function toldBy(origin: string): Promise<Told> {
  return (await (await fetch(`${origin}/told`)).json()) as Told;
}

/** Once the engine could send nothing more for a while. */
async function untilStill(origin: string, count: number): Promise<Told> {
  let last = await toldBy(origin);
  let still = 0;
  const began = performance.now();
  while (still < STILL_LOOKS) {
    if (performance.now() - began > STILL_WITHIN_MS) throw new Error('the engine goes on sending');
    await pause(BETWEEN_LOOKS_MS);
    const now = await toldBy(origin);
    still = now.bytes - last.bytes <= count * STILL_KIB * KIB ? still + 1 : 0;
    last = now;
  }
  return last;
}

async function stalled(
  gates: Gates,
  gateway: GatewayUnderLoad,
  long: boolean,
  say: (text: string) => void,
): Promise<void> {
  const { port } = gateway.pool;
  const count = long ? READERS.long : READERS.short;
  // One before all others starts the engine.
  (await stall(port)).destroy();
  const [replica] = Object.values((await gateway.status()).replicas);
  const origin = `http://127.0.0.1:${portOf(replica?.pid ?? 0)}`;
  const baseline = await baselineOf(gateway);
  const rssBefore = gateway.rss();
  const sentBefore = (await toldBy(origin)).bytes;
  const sockets = await stallMany(port, count, say);
  const still = await untilStill(origin, count);
  say('the engine stands still');
  const rssStill = gateway.rss();
  let rssMost = rssStill;
  for (let look = 0; look < (long ? WATCHED_LOOKS.long : WATCHED_LOOKS.short); look += 1) {
    await pause(BETWEEN_LOOKS_MS);
    rssMost = Math.max(rssMost, gateway.rss());
  }
  const later = await toldBy(origin);
  gates.exactly('streams that the engine has open', later.streams, count);
  const { memory } = await gateway.look();
  const perStream = (bytes: number): number => bytes / KIB / count;
  gates.atMost(
    'sent by the engine while nobody read, per stream',
    perStream(later.bytes - still.bytes),
    DRIPS_KIB,
    'KiB',
  );
  const held = memory.arrayBuffers - baseline.inside.memory.arrayBuffers;
  gates.atMost('buffers held per stream', perStream(held), PER_STREAM_KIB, 'KiB');
  gates.atMost(
    `RSS more than at rest, ${FIXED_MIB} MiB aside, per stream`,
    perStream(rssMost - rssBefore - FIXED_MIB * MIB),
    RSS_PER_STREAM_KIB,
    'KiB',
  );
  gates.atMost('RSS more at the end than when the engine stood still', (rssMost - rssStill) / MIB, FIXED_MIB, 'MiB');
  gates.exactly('bytes of request bodies held', (await gateway.status()).limits.buffered_bytes, 0);
  gates.figure('readers that stalled', count);
  gates.figure('largest buffers of a socket in this network, to send and to receive, KiB', largestBuffers());
  gates.figure('RSS at rest, MiB', rssBefore / MIB);
  gates.figure('RSS with all stalled, most, MiB', rssMost / MIB);
  gates.figure('RSS per stalled stream, KiB', (rssMost - rssBefore) / KIB / count);
  gates.figure(
    'heap and objects outside of it per stream, KiB',
    perStream(memory.heapUsed + memory.external - baseline.inside.memory.heapUsed - baseline.inside.memory.external),
  );
  gates.figure('sent by the engine per stream, KiB', (still.bytes - sentBefore) / KIB / count);
  for (const socket of sockets) socket.destroy();
  await eventually('the engine works for nobody', async () => (await toldBy(origin)).streams === 0, 60_000);
  const { excess } = await restAfter(gateway, baseline.held);
  gates.none('left over at rest', excess);
  gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
}

export const stalledForm: Form = {
  title: 'clients that stop to read, and an engine that is as fast as it is read',
  async run(gates, { long, say }) {
    const slots = READERS.long + AT_ONCE;
    const models = [
      {
        name: 'stalled',
        keys: { command: [process.execPath, ENGINE, '${port}'], max_concurrent: slots, health_path: '/health' },
      },
    ];
    const limits = { max_concurrent: slots, max_models_concurrent: 1, max_queue_size: slots };
    await using gateway = await startUnderLoad({ models, limits });
    using _pool = gateway.pool;
    await stalled(gates, gateway, long, say);
  },
};
