/**
 * Loaded into one side of a comparison (`node --import`), never part of the program: makes each request, and each event that an
 * engine sends, cost so many microseconds more, to show that the comparison would see it.
 *
 * Environment: BENCH_PLANT_REQUEST_US, BENCH_PLANT_CHUNK_US.
 */
import { Server } from 'node:http';
import { Socket } from 'node:net';
import process from 'node:process';

const requestCost = Number(process.env['BENCH_PLANT_REQUEST_US'] ?? 0);
const chunkCost = Number(process.env['BENCH_PLANT_CHUNK_US'] ?? 0);
const EVENT = Buffer.from('data: {');

/** @param {number} microseconds */
function spin(microseconds) {
  const end = performance.now() + microseconds / 1_000;
  while (performance.now() < end);
}

if (requestCost > 0) {
  const { emit } = Server.prototype;
  Server.prototype.emit = function (name, ...rest) {
    if (name === 'request') spin(requestCost);
    return emit.call(this, name, ...rest);
  };
}

if (chunkCost > 0) {
  const { push } = Socket.prototype;
  Socket.prototype.push = function (chunk, encoding) {
    // A socket that a server accepted knows its server; what is left leads to an engine.
    if (Buffer.isBuffer(chunk) && !this.server) {
      let events = 0;
      for (let at = chunk.indexOf(EVENT); at !== -1; at = chunk.indexOf(EVENT, at + EVENT.length)) events++;
      if (events > 0) spin(chunkCost * events);
    }
    return push.call(this, chunk, encoding);
  };
}
