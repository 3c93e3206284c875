/** The gate in a worker: asks the controller over the link and hears later, in the order in which it was decided. */
import type { Ask, Gate, Lease, QueueFacts, Ticket, TicketSink, Upstream } from '../controller/gate.ts';
import type { LeaseOutcome } from '../core/events.ts';
import type { ComingStart } from '../core/lifecycle/forecast.ts';
import { gatewayError } from '../errors.ts';
import { NamedSlots } from '../platform/slots.ts';
import type { SpanReference } from '../telemetry/tracing.ts';
import type { FromWorker, ToWorker } from './protocol.ts';

type Granted = Extract<ToWorker, { kind: 'granted' }>;

const NO_FACTS: QueueFacts = { depth: 0, maxQueueSize: 0, maxConcurrent: 0 };

/** A generation of a replica, as leases of this worker share it. */
interface Known {
  /** Changed in place: connections and leases that have it follow a reload, as they do in the controller's process. */
  readonly upstream: Upstream;
  readonly generation: number;
  ready: boolean;
  /** Bytes moved since this was told. */
  moved: boolean;
}

interface Asked {
  readonly sink: TicketSink;
  readonly model: string;
  lease: RemoteLease | null;
  /** Told whether the request may be attempted once more. */
  retry: ((may: boolean) => void) | null;
}

export class RemoteGate implements Gate {
  accepting = true;
  readonly #say: (message: FromWorker, calm?: boolean) => void;
  readonly #started: (replicaId: string, span: SpanReference) => void;
  readonly #asked = new NamedSlots<Asked>();
  readonly #replicas = new Map<string, Known>();
  readonly #facts = new Map<string, QueueFacts>();
  #starts: ReadonlyMap<string, ComingStart> = new Map();

  /** `say`: `calm` = nobody waits for this for a moment. `started`: told of the span of a start, before the lease that waited for it. */
  constructor(
    say: (message: FromWorker, calm?: boolean) => void,
    started: (replicaId: string, span: SpanReference) => void = () => undefined,
  ) {
    this.#say = say;
    this.#started = started;
  }

  /** Requests that wait or run. */
  get size(): number {
    return this.#asked.size;
  }

  acquire(ask: Ask, sink: TicketSink): Ticket {
    this.#asked.set(ask.id, { sink, model: ask.model, lease: null, retry: null });
    this.#say({ kind: 'acquire', ask });
    return this.#ticket(ask.id);
  }

  /** As of the last answer about this model; of a queue in which others wait, as it was a quarter of a second ago. */
  queueFacts(model: string): QueueFacts {
    return this.#facts.get(model) ?? NO_FACTS;
  }

  /** As it was told a moment ago. */
  comingStart(model: string): ComingStart | null {
    return this.#starts.get(model) ?? null;
  }

  /** What holds until something is heard. */
  setQueues(queues: ReadonlyMap<string, QueueFacts>): void {
    for (const model of this.#facts.keys()) if (!queues.has(model)) this.#facts.delete(model);
    for (const [model, facts] of queues) {
      this.#facts.set(model, { ...facts, depth: this.#facts.get(model)?.depth ?? facts.depth });
    }
  }

  /** Replicas on whose leases bytes moved since the last call. */
  takeTouched(): readonly string[] {
    const touched: string[] = [];
    for (const [id, replica] of this.#replicas) {
      if (!replica.moved) continue;
      replica.moved = false;
      touched.push(id);
    }
    return touched;
  }

  hear(message: ToWorker): void {
    switch (message.kind) {
      case 'granted':
        return this.#granted(message);
      case 'refused': {
        this.#learn(message.model, message.facts);
        const asked = this.#asked.get(message.id);
        this.#asked.delete(message.id);
        return asked?.sink.refused(message.error, message.atOnce);
      }
      case 'queued':
        return this.#learn(message.model, message.facts);
      case 'cut': {
        const asked = this.#asked.get(message.id);
        // Given back meanwhile: what becomes of it is said next.
        return asked?.lease ? asked.sink.cut(message.error) : undefined;
      }
      case 'retry': {
        const asked = this.#asked.get(message.id);
        const answer = asked?.retry;
        if (asked) asked.retry = null;
        return answer?.(message.may);
      }
      case 'left': {
        const replica = this.#replicas.get(message.replicaId);
        if (replica?.generation === message.generation) replica.ready = false;
        return;
      }
      case 'close':
      case 'destroy':
        this.#replicas.delete(message.replicaId);
        return;
      case 'refuse':
      case 'drain':
        this.accepting = false;
        return;
      case 'outlook':
        this.#starts = new Map(message.starts);
        return;
      case 'ping':
        return;
    }
  }

  release(id: string, outcome: LeaseOutcome): void {
    const facts = this.#facts.get(this.#asked.get(id)?.model ?? '');
    this.#asked.delete(id);
    // Where nobody waits for its place, and whoever comes now might: it goes with what is asked next.
    const calm = facts !== undefined && facts.depth === 0 && facts.maxQueueSize > 0;
    this.#say({ kind: 'release', id, outcome }, calm);
  }

  askRetry(id: string, answer: (may: boolean) => void): void {
    const asked = this.#asked.get(id);
    if (!asked) return answer(false);
    asked.retry = answer;
    this.#say({ kind: 'retry', id });
  }

  giveBack(id: string): Ticket {
    const asked = this.#asked.get(id);
    if (asked) {
      asked.lease = null;
      // What is still to be answered was asked of this lease, not of the next one.
      asked.retry = null;
    }
    this.#say({ kind: 'give_back', id });
    return this.#ticket(id);
  }

  #granted({ id, lease: granted, facts }: Granted): void {
    const { replicaId, generation, upstream, model, start } = granted;
    const known = this.#replicas.get(replicaId);
    if (upstream && known?.generation === generation) Object.assign(known.upstream, upstream);
    else if (upstream) this.#replicas.set(replicaId, { upstream, generation, ready: true, moved: false });
    if (start) this.#started(replicaId, start);
    this.#learn(model, facts);
    const asked = this.#asked.get(id);
    // Its client is gone: the controller hears that next, and takes the lease back.
    if (!asked) return;
    const replica = this.#replicas.get(replicaId);
    if (!replica) throw new Error(`lease on replica ${replicaId}, whose upstream was never told`);
    asked.lease = new RemoteLease(this, id, granted, replica);
    asked.sink.granted(asked.lease);
  }

  #learn(model: string, facts: QueueFacts): void {
    if (this.#facts.has(model)) this.#facts.set(model, facts);
  }

  #ticket(id: string): Ticket {
    return {
      kind: 'ticket',
      id,
      abandon: () => {
        if (this.#asked.delete(id)) this.#say({ kind: 'abandon', id });
      },
    };
  }
}

/** One per request, as the controller's own: fields, and writes to what its replica shares. */
class RemoteLease implements Lease {
  readonly kind = 'lease';
  readonly id: string;
  readonly model: string;
  readonly replicaId: string;
  readonly generation: number;
  readonly upstream: Upstream;
  readonly queuedMs: number;
  readonly coldStartMs: number;
  readonly #gate: RemoteGate;
  readonly #replica: Known;
  #ended = false;

  constructor(gate: RemoteGate, id: string, granted: Granted['lease'], replica: Known) {
    this.#gate = gate;
    this.#replica = replica;
    this.id = id;
    this.model = granted.model;
    this.replicaId = granted.replicaId;
    this.generation = granted.generation;
    this.upstream = replica.upstream;
    this.queuedMs = granted.queuedMs;
    this.coldStartMs = granted.coldStartMs;
  }

  get alive(): boolean {
    return !this.#ended && this.#replica.ready;
  }

  touch(): void {
    this.#replica.moved = true;
  }

  mayRetry(answer: (may: boolean) => void): void {
    if (this.#ended) answer(false);
    else this.#gate.askRetry(this.id, answer);
  }

  giveBack(): ReturnType<Lease['giveBack']> {
    if (this.#ended) return { kind: 'refused', error: gatewayError('internal_error', 'The lease has ended already.') };
    this.#ended = true;
    return this.#gate.giveBack(this.id);
  }

  release(outcome: LeaseOutcome): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#gate.release(this.id, outcome);
  }
}
