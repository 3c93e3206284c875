import type { FinishReason, Metrics } from './metrics.ts';

/** Why a request ended without an answer of its own. */
export class EngineDeadError extends Error {
  constructor() {
    super('EngineCore encountered an issue. See stack trace (above) for the root cause.');
  }
}

export interface SequenceListener {
  /** One token became text. */
  token(index: number, piece: string, position: number): void;
  finished(index: number, reason: FinishReason): void;
  failed(error: Error): void;
}

export interface Plan {
  readonly pieces: readonly string[];
  /** What the finish reason will be once all pieces are out. */
  readonly reason: FinishReason;
  /** When the sequences of a request have prompts of their own. */
  readonly promptTokens?: number;
}

/** Pace and misbehaviour of one request; milliseconds, already scaled. */
export interface Pace {
  readonly ttftMs: number;
  readonly tokenMs: number;
  /** Keeps the prompt in prefill this long: KV usage grows, no counter moves. */
  readonly prefillMs: number;
  /** Never produces a token. */
  readonly hang: boolean;
  /** Ends with `abort` after so many tokens. */
  readonly abortAfter: number | undefined;
}

export interface Job {
  readonly id: string;
  readonly promptTokens: number;
  readonly maxTokens: number;
  readonly plans: readonly Plan[];
  readonly pace: Pace;
  readonly listener: SequenceListener;
}

interface Sequence {
  readonly job: Job;
  readonly index: number;
  readonly plan: Plan;
  readonly submitted: number;
  started: number;
  firstToken: number;
  emitted: number;
  /** Prompt tokens already in the KV cache. */
  computed: number;
  timer: NodeJS.Timeout | undefined;
  done: boolean;
}

const BLOCK = 16;

/**
 * The scheduler: `max_num_seqs` slots, a first-come queue without bound, tokens at a fixed pace. While frozen or paused
 * nothing moves, counters included. Idle it owns no timer.
 */
export class Engine {
  private readonly slots: number;
  private readonly kvTokens: number;
  private readonly metrics: Metrics;
  private readonly running = new Set<Sequence>();
  private readonly queue: Sequence[] = [];
  private readonly prefixes = new Map<string, number>();
  private stopped = false;
  dead = false;
  maxRunning = 0;
  served = 0;
  aborted = 0;

  constructor(slots: number, kvTokens: number, metrics: Metrics) {
    this.slots = slots;
    this.kvTokens = kvTokens;
    this.metrics = metrics;
  }

  get runningCount(): number {
    return this.running.size;
  }

  get waitingCount(): number {
    return this.queue.length;
  }

  get frozen(): boolean {
    return this.stopped;
  }

  get kvUsage(): number {
    let tokens = 0;
    for (const sequence of this.running) {
      tokens += Math.ceil((sequence.computed + sequence.emitted) / BLOCK) * BLOCK;
    }
    return Math.min(1, tokens / Math.max(1, this.kvTokens));
  }

  /** Tokens of this prompt that an earlier one with the same beginning left in the cache; whole blocks of 128. */
  lookUp(prompt: string, tokens: number): number {
    const key = prompt.slice(0, 400);
    const seen = this.prefixes.get(key) ?? 0;
    if (this.prefixes.size > 2000) this.prefixes.clear();
    this.prefixes.set(key, Math.floor(tokens / 128) * 128);
    return Math.min(seen, Math.floor((tokens - 1) / 128) * 128);
  }

  submit(job: Job, cached = 0): void {
    if (this.dead) {
      job.listener.failed(new EngineDeadError());
      return;
    }
    for (const [index, plan] of job.plans.entries()) {
      this.queue.push({
        job,
        index,
        plan,
        submitted: performance.now(),
        started: 0,
        firstToken: 0,
        emitted: 0,
        computed: cached,
        timer: undefined,
        done: false,
      });
    }
    this.schedule();
  }

  /** The client is gone: its slots are free at once. Not counted as finished, as in vLLM. */
  abort(job: Job): void {
    let touched = false;
    for (const sequence of [...this.running, ...this.queue]) {
      if (sequence.job !== job || sequence.done) continue;
      this.release(sequence);
      touched = true;
    }
    if (!touched) return;
    this.aborted += 1;
    this.schedule();
  }

  /** Ends everything with `finish_reason: abort` (sleep, pause with mode abort, one way of shutting down). */
  abortAll(): void {
    for (const sequence of [...this.running, ...this.queue]) if (!sequence.done) this.finish(sequence, 'abort');
  }

  /** The engine process is gone: everything fails, for good. */
  die(): void {
    this.dead = true;
    const jobs = new Set([...this.running, ...this.queue].map((sequence) => sequence.job));
    for (const sequence of [...this.running, ...this.queue]) this.release(sequence);
    for (const job of jobs) job.listener.failed(new EngineDeadError());
  }

  /** Gone without telling anybody: requests stay open for ever, and counted. */
  vanish(): void {
    this.freeze();
  }

  freeze(): void {
    this.stopped = true;
    for (const sequence of this.running) {
      clearTimeout(sequence.timer);
      sequence.timer = undefined;
    }
  }

  thaw(): void {
    if (!this.stopped || this.dead) return;
    this.stopped = false;
    for (const sequence of this.running) if (sequence.timer === undefined) this.arm(sequence, 0);
    this.schedule();
  }

  private schedule(): void {
    while (!this.stopped && this.running.size < this.slots) {
      const next = this.queue.shift();
      if (next === undefined) return;
      this.running.add(next);
      this.maxRunning = Math.max(this.maxRunning, this.running.size);
      next.started = performance.now();
      this.arm(next, Math.max(next.job.pace.ttftMs, next.job.pace.prefillMs > 0 ? 50 : 0));
    }
  }

  private arm(sequence: Sequence, delay: number): void {
    if (sequence.job.pace.hang) return;
    sequence.timer = setTimeout(() => this.step(sequence), delay);
  }

  private step(sequence: Sequence): void {
    sequence.timer = undefined;
    if (sequence.done || this.stopped) return;
    const { job } = sequence;
    const now = performance.now();
    if (sequence.firstToken === 0) {
      const waited = now - sequence.started;
      if (waited < job.pace.prefillMs) {
        sequence.computed = Math.floor((waited / job.pace.prefillMs) * promptOf(sequence));
        this.arm(sequence, Math.min(50, job.pace.prefillMs - waited + 1));
        return;
      }
      this.metrics.prompt(promptOf(sequence), job.pace.prefillMs === 0 ? sequence.computed : 0);
      sequence.computed = promptOf(sequence);
      sequence.firstToken = now;
      this.metrics.firstToken((now - sequence.submitted) / 1000);
    }
    const pace = job.pace.tokenMs;
    const due = pace <= 0 ? sequence.emitted + 8 : Math.floor((now - sequence.firstToken) / pace) + 1;
    const target = Math.max(sequence.emitted + 1, Math.min(due, sequence.plan.pieces.length));
    this.emit(sequence, target);
    if (sequence.done) return;
    const next = sequence.firstToken + sequence.emitted * pace - performance.now();
    this.arm(sequence, Math.max(0, next));
  }

  private emit(sequence: Sequence, target: number): void {
    const { job, plan } = sequence;
    const limit = job.pace.abortAfter ?? Number.POSITIVE_INFINITY;
    while (sequence.emitted < target && !sequence.done) {
      const piece = plan.pieces[sequence.emitted];
      if (piece === undefined) break;
      if (sequence.emitted > 0) this.metrics.interToken(job.pace.tokenMs / 1000);
      sequence.emitted += 1;
      this.metrics.generated(1);
      job.listener.token(sequence.index, piece, sequence.emitted - 1);
      if (!sequence.done && sequence.emitted >= limit) this.finish(sequence, 'abort');
    }
    if (!sequence.done && sequence.emitted >= plan.pieces.length) this.finish(sequence, plan.reason);
  }

  private finish(sequence: Sequence, reason: FinishReason): void {
    const now = performance.now();
    const started = sequence.started === 0 ? now : sequence.started;
    const first = sequence.firstToken === 0 ? now : sequence.firstToken;
    this.release(sequence);
    this.served += 1;
    this.metrics.finished({
      reason,
      promptTokens: promptOf(sequence),
      generatedTokens: sequence.emitted,
      maxTokens: sequence.job.maxTokens,
      queueSeconds: (started - sequence.submitted) / 1000,
      prefillSeconds: (first - started) / 1000,
      totalSeconds: (now - sequence.submitted) / 1000,
    });
    sequence.job.listener.finished(sequence.index, reason);
    this.schedule();
  }

  private release(sequence: Sequence): void {
    sequence.done = true;
    clearTimeout(sequence.timer);
    if (this.running.delete(sequence)) return;
    const place = this.queue.indexOf(sequence);
    if (place !== -1) this.queue.splice(place, 1);
  }
}

function promptOf(sequence: Sequence): number {
  return sequence.plan.promptTokens ?? sequence.job.promptTokens;
}
