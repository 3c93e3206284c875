import { describe, expect, it } from 'vitest';
import { partOf, partsOf, type CpuProfile } from './profile.ts';

const frame = (functionName: string, url = ''): CpuProfile['nodes'][number]['callFrame'] => ({ functionName, url });

describe('a profile', () => {
  it('names the part of the program that a sample falls into', () => {
    expect(partOf(frame('relay', 'file:///x/dist/src/proxy/relay.js'))).toBe('src/proxy');
    expect(partOf(frame('main', 'file:///x/dist/src/main.js'))).toBe('src/main');
    expect(partOf(frame('log', 'file:///x/node_modules/pino/lib/proto.js'))).toBe('pino');
    expect(partOf(frame('get', 'file:///x/node_modules/@a/b/index.js'))).toBe('@a/b');
    expect(partOf(frame('writev'))).toBe('system calls: writing to sockets');
    expect(partOf(frame('writeString'))).toBe('system calls: writing the log');
    expect(partOf(frame('toString', 'node:buffer'))).toBe('the rest of Node');
    expect(partOf(frame('parserOnHeadersComplete', 'node:_http_common'))).toBe("Node's HTTP server");
  });

  it('shares the cost among what was at work within the measured time', () => {
    const nodes = [frame('(idle)'), frame('relay', '/dist/src/proxy/relay.js'), frame('(garbage collector)')];
    const profile: CpuProfile = {
      nodes: nodes.map((callFrame, id) => ({ id, callFrame })),
      startTime: 0,
      samples: [1, 1, 0, 1, 2, 2],
      timeDeltas: [100, 100, 100, 300, 100, 900],
    };
    // Neither what came before 150 µs, nor what after 800, nor waiting.
    expect(partsOf(profile, 150, 800, 50).map(({ part, cost }) => [part, cost])).toEqual([
      ['src/proxy', 40],
      ['garbage collection', 10],
    ]);
  });
});
