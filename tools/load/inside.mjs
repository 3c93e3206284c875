/**
 * Loaded into a gateway under load (`node --expose-gc --import inside.mjs …`): answers, over the channel to its parent, what
 * the process holds. Product code knows nothing of it. One question, `{ look: N }`, one answer, `{ look: N, … }`.
 */
import { Session } from 'node:inspector';
import process from 'node:process';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';

const delay = monitorEventLoopDelay({ resolution: 10 });

/**
 * Runs in the heap: counts every living object by its class, and the listeners on all that can have some. Targets of Node's
 * own kind, abort signals among them, keep theirs under a symbol.
 */
const CENSUS = `function () {
  const classes = {};
  let listeners = 0;
  let timers = 0;
  const isTarget = (one) => Object.prototype.isPrototypeOf.call(EventTarget.prototype, one);
  for (const one of this) {
    let name;
    try { name = Object.getPrototypeOf(one)?.constructor?.name ?? ''; } catch { continue; }
    classes[name] = (classes[name] ?? 0) + 1;
    if (name === 'Timeout' && one._destroyed === false) timers += 1;
    if (typeof one._eventsCount === 'number' && one._events) {
      for (const key of Object.keys(one._events)) {
        const held = one._events[key];
        listeners += Array.isArray(held) ? held.length : 1;
      }
    }
    if (!isTarget(one)) continue;
    for (const symbol of Object.getOwnPropertySymbols(one)) {
      if (symbol.description !== 'kEvents') continue;
      // A map that is safe from changes of its prototype, and so no instance of Map.
      Map.prototype.forEach.call(one[symbol], (root) => { listeners += root.size; });
    }
  }
  return { classes, listeners, timers };
}`;

/**
 * @param {Session} session
 * @param {string} method
 * @param {object} parameters
 */
function ask(session, method, parameters) {
  /** @type {any} */
  let answer;
  session.post(method, parameters, (error, result) => {
    if (error) throw new Error(`${method}: ${error.message}`);
    answer = result;
  });
  return answer;
}

/**
 * @param {Session} session
 * @param {string} prototype
 * @param {string} count
 */
function over(session, prototype, count) {
  const { result } = ask(session, 'Runtime.evaluate', { expression: prototype, objectGroup: 'look' });
  const { objects } = ask(session, 'Runtime.queryObjects', { prototypeObjectId: result.objectId, objectGroup: 'look' });
  const called = ask(session, 'Runtime.callFunctionOn', {
    objectId: objects.objectId,
    functionDeclaration: count,
    returnByValue: true,
    objectGroup: 'look',
  });
  if (called.exceptionDetails) throw new Error(called.exceptionDetails.exception?.description ?? 'the count failed');
  return called.result.value;
}

/** @param {string[]} kinds */
function tally(kinds) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

function census() {
  const session = new Session();
  session.connect();
  try {
    const counted = over(session, 'Object.prototype', CENSUS);
    ask(session, 'Runtime.releaseObjectGroup', { objectGroup: 'look' });
    return counted;
  } finally {
    session.disconnect();
  }
}

async function look() {
  const resources = tally(process.getActiveResourcesInfo());
  // The query collects all garbage there is before it looks.
  const counted = census();
  await turn();
  globalThis.gc?.();
  return { memory: process.memoryUsage(), resources, ...counted };
}

process.on('message', (message) => {
  if (typeof message !== 'object' || message === null || !('look' in message)) return;
  const number = message.look;
  if ('loop' in message) {
    const loop = { p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 };
    process.send?.({ look: number, loop, memory: process.memoryUsage() });
    delay.reset();
    return;
  }
  look().then(
    (seen) => process.send?.({ look: number, ...seen }),
    (error) => process.send?.({ look: number, error: String(error) }),
  );
});
delay.enable();
// A load that dies takes its gateway with it.
process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'));
// Neither keeps the program alive.
process.channel?.unref();
