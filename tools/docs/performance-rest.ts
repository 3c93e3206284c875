/** What is written by hand on docs/performance.md: where the rest of each figure goes, and how it was measured. */
import type { Goal } from '../bench/goals.ts';

export const METHOD = [
  'Everything stands between the same load and the same pretended engine (`tools/bench`), on the loopback of one machine. Every answer is ' +
    'checked: status, a nonce that the engine returns, the exact number of events, the last event, and the framing. A round asks each of them, ' +
    'one right after another and in another order each time; rounds start every process anew, because what a compiler made of one process ' +
    'stays with it. What is told is CPU time of the process tree as the scheduler counts it, **as a multiple of nginx in the same round**: ' +
    'absolute numbers of two machines, or of one machine on two days, cannot be compared. nginx and haproxy do not look at the request, and none of them ' +
    'reads a key, keeps a queue, counts tokens or writes an access line. The gateway does all of that.',
  'A sample during which others used more than 0.3 CPUs, or the host took more than 0.1, is taken again, up to three times; what ' +
    'was disturbed every time is told as such.',
] as const;

const HTTP_PARSER =
  "Node's HTTP parser and the objects that it makes of each request of a client (`IncomingMessage`, `ServerResponse`, header pairs). Strangers' " +
  'requests are read by the parser that the world tests, not by one of our own';
const SYSTEM_CALLS =
  'system calls: one read and one write per event and hop, each through the layers of libuv and of Node, where C makes them directly';

const REST: Readonly<Record<string, string>> = {
  'W1 × nginx': `${HTTP_PARSER}; then key, access line, ledger and counters, a few microseconds each`,
  'W1-1 × nginx': `what a turn of Node's event loop costs when it carries one request and nothing is shared with others: waking up, timers, ticks; and ${HTTP_PARSER}`,
  'W2 × nginx':
    'checking the framing of every chunk before it is passed on, and looking at the end of each event for usage and errors',
  'W3 × nginx': `${SYSTEM_CALLS}; a paced event meets a loop that has to be woken up, so little is shared`,
  'W3 × blind net.pipe':
    'checking the framing, the events, counters; the relay that looks at nothing is the least that Node can do',
  'W3-600 × nginx': SYSTEM_CALLS,
  'W4 × nginx':
    'the scan of the body for the name of the model, which also refuses what is ambiguous in it, and the copies on the way through V8; nginx hands on what it does not read',
  'W3 p50': 'one turn of the event loop on either side of the work; more streams in the same turn wait for each other',
  'W3 p99': 'garbage collection, and turns of the loop in which many streams have an event at once',
  'W5 cost':
    'what Node keeps for two sockets, a request and an answer of which the client, the queue and the ledger know',
  'W7-start p99':
    'what has to be on disk before a process may be started (its record, so that it is found again after a crash), and the process itself',
  'W7-answer p99': 'how often a starting engine is asked whether it is ready',
};

export const restOf = ({ workload, of }: Goal): string =>
  REST[`${workload} ${of === 'nginx' || of === 'blind net.pipe' ? `× ${of}` : of}`] ?? '';

export const NOT_HELPED =
  'What was tried and did not help, so that nobody tries it again, stands in [decision 15](decisions/0015-what-did-not-make-it-faster.md).';
