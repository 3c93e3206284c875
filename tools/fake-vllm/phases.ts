import { readFileSync } from 'node:fs';
import type { App } from './app.ts';
import { scaled, sleepFor } from './app.ts';
import { startCore } from './core.ts';
import { crash } from './death.ts';
import { endProcess } from './exit.ts';
import { isCached, remember } from './fetched.ts';
import * as lines from './log-lines.ts';
import { DERIVED_MODEL_LEN } from './options.ts';
import {
  AUTO_TOOL_WITHOUT_PARSER,
  coreFails,
  kvTooSmall,
  noModel,
  noWeights,
  outOfMemory,
  portInUse,
  serverFails,
  tooLong,
} from './tracebacks.ts';
import { kvTokens, MemoryFailure, visibleDevices, VramClaim } from './vram.ts';

/** Phases of a start and the share of `FAKE_VLLM_START_MS` each takes. */
export const PHASES = {
  imports: 0.35,
  config: 0.15,
  engine: 0.15,
  load: 0.15,
  compile: 0.08,
  profile: 0.04,
  kv: 0.02,
  graphs: 0.04,
  serve: 0.02,
} as const;

export type Phase = keyof typeof PHASES;

const MIB = 1024 * 1024;

/** Walks through the whole start. Resolves with the KV cache's tokens, or ends the process. */
export async function start(app: App): Promise<number> {
  const clock = new PhaseClock(app);
  let tokens = 0;
  try {
    await imports(app, clock);
    await configure(app, clock);
    await engine(app, clock);
    await load(app, clock);
    await clock.enter('compile');
    spike(app);
    lines.compileLines(app, clock.seconds());
    await clock.enter('profile');
    await clock.leave('profile');
    const kvMib = profile(app);
    lines.profileLines(app, kvMib / 1024);
    await clock.enter('kv');
    tokens = kvTokens(app, kvMib);
    app.vram?.hold(app.vram.heldMib + kvMib);
    if (app.vram !== undefined) app.vram.kvMib = kvMib;
    lines.kvLines(app, tokens);
    await graphs(app, clock);
    await clock.enter('serve');
  } catch (error) {
    if (!(error instanceof MemoryFailure)) throw error;
    coreFails(app, error.message);
    endProcess(app, 1);
  }
  return tokens;
}

async function imports(app: App, clock: PhaseClock): Promise<void> {
  await clock.enter('imports');
  await clock.leave('imports');
  if (app.faults.has('bad_arguments')) {
    app.log.error('usage: vllm serve [model_tag] [options]');
    app.log.error("vllm serve: error: argument --max-num-seqs: invalid int value: 'many'");
    process.exit(2);
  }
  if (app.options.autoTools && !app.options.toolParser) {
    app.log.error(AUTO_TOOL_WITHOUT_PARSER);
    endProcess(app, 1);
  }
}

async function configure(app: App, clock: PhaseClock): Promise<void> {
  app.phase = 'config';
  lines.banner(app);
  if (app.faults.has('port_in_use') || portTaken(app)) {
    serverFails(app, portInUse);
    endProcess(app, 1);
  }
  await clock.enter('config');
  const { options } = app;
  if (app.faults.has('bad_model_files') && app.faults.text('bad_model_files') !== 'weights') {
    serverFails(app, noModel(options.repo));
    endProcess(app, 1);
  }
  const derived = app.knobs.modelLen ?? DERIVED_MODEL_LEN;
  if (options.maxModelLen > derived && process.env['VLLM_ALLOW_LONG_MAX_MODEL_LEN'] !== '1') {
    serverFails(app, tooLong(options.maxModelLen, derived));
    endProcess(app, 1);
  }
  lines.configLines(app);
  await clock.leave('config');
}

async function engine(app: App, clock: PhaseClock): Promise<void> {
  const { options, knobs } = app;
  await startCore(app);
  await clock.enter('engine');
  lines.engineLines(app);
  if (knobs.vramFile !== undefined) {
    const { vramFile, vramReleaseMs } = knobs;
    const visible = visibleDevices(process.env);
    app.vram = new VramClaim(vramFile, app.engineSpeaker.pid, vramReleaseMs, visible, options.tensorParallelSize);
    app.vram.hold(knobs.contextMib);
    app.vram.snapshot(options.gpuMemoryUtilization);
  }
  if (app.faults.has('oom_at_start')) throw new MemoryFailure(outOfMemory(4096, 24, 1024));
  await clock.leave('engine');
}

async function load(app: App, clock: PhaseClock): Promise<void> {
  const { knobs, options, faults } = app;
  await clock.enter('load');
  lines.loadStarts(app);
  await download(app, clock);
  if (faults.text('bad_model_files') === 'weights') throw new MemoryFailure(noWeights(options.repo));
  const weights = knobs.weightsMib / options.tensorParallelSize;
  const steps = 4;
  const extra = scaled(app, faults.number('slow_load', 0) ?? 0);
  for (let step = 1; step <= steps; step += 1) {
    await sleepFor((clock.left('load') + extra) / steps);
    app.vram?.hold(knobs.contextMib + (weights * step) / steps);
    lines.loadProgress(app, step, steps, clock.seconds());
  }
  clock.shift(extra);
  lines.loadEnds(app, clock.seconds());
}

/** What nobody fetched before arrives now, with the memory already looked at. */
async function download(app: App, clock: PhaseClock): Promise<void> {
  const { knobs, options } = app;
  await clock.strikeAt('download');
  if (knobs.downloadMs === 0 || isCached(knobs.cacheDir, options.repo)) return;
  const whole = scaled(app, knobs.downloadMs);
  const steps = 4;
  for (let step = 1; step <= steps; step += 1) {
    await sleepFor(whole / steps);
    lines.downloadProgress(app, step, steps);
  }
  remember(knobs.cacheDir, options.repo);
  lines.downloadEnds(app, whole / 1000);
  clock.shift(whole);
}

/** MiB per device before there is a KV cache. */
function loadedMib({ knobs, options }: App): number {
  return knobs.contextMib + knobs.weightsMib / options.tensorParallelSize + knobs.activationMib;
}

/** A run of the largest size takes more than any later one will: seen by neighbours while it lasts. @throws MemoryFailure */
function spike(app: App): void {
  if (app.knobs.spikeMib > 0) app.vram?.hold(loadedMib(app) + app.knobs.spikeMib);
}

/** MiB of KV cache per device. @throws MemoryFailure */
function profile(app: App): number {
  const { options, knobs, vram } = app;
  const fixed = options.kvCacheBytes;
  if (app.faults.has('kv_too_small')) {
    throw new MemoryFailure(kvTooSmall(options.maxModelLen, 1, 0.5, Math.floor(options.maxModelLen / 2)));
  }
  const byDefault = (options.maxModelLen * 8 * knobs.kvBytesPerToken) / options.tensorParallelSize / MIB;
  if (vram === undefined) return fixed === undefined ? byDefault : fixed / MIB;
  vram.hold(loadedMib(app));
  if (fixed !== undefined) return fixed / MIB;
  const reserve = knobs.spikeMib + (options.enforceEager ? 0 : knobs.graphsMib);
  return vram.profile(options.gpuMemoryUtilization, reserve);
}

async function graphs(app: App, clock: PhaseClock): Promise<void> {
  await clock.enter('graphs');
  lines.graphProgress(app, 1, 2, clock.seconds());
  if (!app.options.enforceEager) app.vram?.hold(app.vram.heldMib + app.knobs.graphsMib);
  await clock.leave('graphs');
  lines.graphProgress(app, 2, 2, clock.seconds());
  lines.graphsEnd(app, clock.seconds());
}

/**
 * vLLM binds early and listens late: a taken port is found before anything is loaded. Asked from the kernel's table,
 * since Node cannot bind without listening and the port has to refuse connections until the engine is ready.
 */
function portTaken(app: App): boolean {
  const { port, uds } = app.options;
  if (uds !== undefined) return false;
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const listening = '0A';
  return ['/proc/net/tcp', '/proc/net/tcp6'].some((table) => {
    try {
      return readFileSync(table, 'utf8')
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .some(([, local = '', , state]) => local.endsWith(suffix) && state === listening);
    } catch {
      return false;
    }
  });
}

/** When each phase begins and ends, counted from the spawn; faults of a phase strike at its beginning. */
class PhaseClock {
  private readonly app: App;
  private readonly begins = new Map<Phase, number>();
  private readonly ends = new Map<Phase, number>();
  private shifted = 0;
  private entered = 0;

  constructor(app: App) {
    this.app = app;
    let share = 0;
    for (const [phase, part] of Object.entries(PHASES) as [Phase, number][]) {
      this.begins.set(phase, scaled(app, share * app.knobs.startMs));
      share += part;
      this.ends.set(phase, scaled(app, share * app.knobs.startMs));
    }
  }

  async enter(phase: Phase): Promise<void> {
    await sleepFor((this.begins.get(phase) ?? 0) + this.shifted - performance.now());
    this.app.phase = phase;
    this.entered = performance.now();
    await this.strike(phase);
  }

  async leave(phase: Phase): Promise<void> {
    await sleepFor(this.left(phase));
  }

  /** Milliseconds until the phase is over. */
  left(phase: Phase): number {
    return Math.max(0, (this.ends.get(phase) ?? 0) + this.shifted - performance.now());
  }

  /** Moves everything that follows. */
  shift(ms: number): void {
    this.shifted += ms;
  }

  /** Seconds in this phase. */
  seconds(): number {
    return (performance.now() - this.entered) / 1000;
  }

  /** Faults of a step that is no phase of its own. */
  async strikeAt(step: 'download'): Promise<void> {
    await this.strike(step);
  }

  private async strike(phase: Phase | 'download'): Promise<void> {
    const { app } = this;
    if (app.faults.text('crash_at') === phase) {
      crash(app, app.faults.text('crash_at', 1) ?? '1');
      await new Promise(() => setInterval(() => undefined, 60_000));
    }
    if (app.faults.text('exit0_at') === phase) endProcess(app, 0);
    if (app.faults.text('hang_at') !== phase) return;
    app.log.silence();
    await new Promise(() => {
      setInterval(() => undefined, 60_000);
    });
  }
}
