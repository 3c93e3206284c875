/**
 * How sockets to engines are read: all into one buffer, out of which what came is copied at once. Node would make a buffer
 * of 64 KiB for every read, give back most of it, and take the piece through its stream of the socket.
 */
import type { OnReadOpts } from 'node:net';
import { KIB } from '../units.ts';

/** As much as Node reads at once. */
const ROOM = 64 * KIB;
const inbox = Buffer.allocUnsafeSlow(ROOM);

/** For `connect` of node:net. `read` is told what came, as soon as it is here; the bytes are its own. */
export function readThroughInbox(read: (chunk: Buffer) => void): OnReadOpts {
  return {
    buffer: inbox,
    callback(bytes) {
      const chunk = Buffer.allocUnsafe(bytes);
      inbox.copy(chunk, 0, 0, bytes);
      read(chunk);
      return true;
    },
  };
}
