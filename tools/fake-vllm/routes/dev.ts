import { VERSION } from '../app.ts';
import { readJson } from '../body.ts';
import { RequestError, validationError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { type Route, route } from './route.ts';

/** Routes of `VLLM_SERVER_DEV_MODE=1`. */
export function devRoutes(): Route[] {
  return [
    route('GET', '/server_info', serverInfo),
    route('POST', '/sleep', sleep),
    route('POST', '/wake_up', wakeUp),
    route('GET', '/is_sleeping', (x) => x.json(200, { is_sleeping: x.app.sleepLevel > 0 })),
    route('POST', '/reset_prefix_cache', (x) => x.json(200, { success: true })),
    route('POST', '/reset_mm_cache', (x) => x.empty(200)),
    route('POST', '/reset_encoder_cache', (x) => x.empty(200)),
    route('POST', '/pause', pause),
    route('POST', '/resume', resume),
    route('GET', '/is_paused', (x) => x.json(200, { is_paused: x.app.engine.frozen })),
    route('POST', '/abort_requests', abortRequests),
    route('POST', '/collective_rpc', collectiveRpc),
  ];
}

function serverInfo(x: Exchange): void {
  const { options } = x.app;
  const text = `model='${options.repo}', max_seq_len=${options.maxModelLen}`;
  x.json(200, { vllm_config: text, vllm_env: {}, system_env: { vllm_version: VERSION } });
}

/** Without `--enable-sleep-mode` it answers the same and frees nothing. */
function sleep(x: Exchange): void {
  const { app } = x;
  const level = readLevel(x.query.get('level') ?? '1');
  readMode(x.query.get('mode') ?? 'abort');
  if ((x.query.get('mode') ?? 'abort') === 'abort') app.engine.abortAll();
  app.engine.freeze();
  app.sleepLevel = level;
  app.awakeTags = new Set();
  if (level === 2) app.weightsLost = true;
  if (level > 0 && app.options.on('enable-sleep-mode') && app.vram !== undefined) {
    const before = app.vram.heldMib;
    app.awakeMib = before;
    app.vram.hold(app.knobs.contextMib + app.knobs.sleepResidualMib);
    const freed = (before - app.vram.heldMib) / 1024;
    const text = `Sleep mode freed ${freed.toFixed(2)} GiB memory, ${(app.vram.heldMib / 1024).toFixed(2)} GiB memory is still in use.`;
    app.log.line(app.engineSpeaker, 'INFO', 'gpu_worker.py:188', text);
  }
  app.metrics.slept('sleep', 0.01);
  x.json(200, { status: 'sleeping', level });
}

function readLevel(text: string): number {
  const level = Number(text);
  if (level > 2) {
    throw validationError(
      `{'type': 'less_than_equal', 'loc': 'query.level', 'msg': 'Input should be less than or equal to 2', 'input': '${text}', 'ctx': {'le': 2}}`,
      'query.level',
    );
  }
  if (level < 0 || !Number.isInteger(level)) {
    throw validationError(
      `{'type': 'greater_than_equal', 'loc': 'query.level', 'msg': 'Input should be greater than or equal to 0', 'input': '${text}', 'ctx': {'ge': 0}}`,
      'query.level',
    );
  }
  return level;
}

function readMode(text: string): void {
  if (text === 'abort' || text === 'wait' || text === 'keep') return;
  throw validationError(
    `{'type': 'literal_error', 'loc': 'query.mode', 'msg': "Input should be 'abort', 'wait' or 'keep'", 'input': '${text}', 'ctx': {'expected': "'abort', 'wait' or 'keep'"}}`,
    'query.mode',
  );
}

/** Awake only when both kinds of memory are back; without tags both at once. */
function wakeUp(x: Exchange): void {
  const { app } = x;
  const tags = x.query.getAll('tags');
  for (const tag of tags.length === 0 ? ['weights', 'kv_cache'] : tags) app.awakeTags.add(tag);
  const awake = app.sleepLevel === 0 || (app.awakeTags.has('weights') && app.awakeTags.has('kv_cache'));
  if (awake && app.sleepLevel > 0) {
    if (app.vram !== undefined && app.awakeMib > 0) {
      // Neighbours may have taken the memory meanwhile.
      try {
        app.vram.hold(app.awakeMib);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new RequestError(500, 'InternalServerError', `Call to wake_up method failed: ${message}`);
      }
      app.awakeMib = 0;
    }
    app.sleepLevel = 0;
    app.engine.thaw();
  }
  app.metrics.slept('wake_up', 0.01);
  x.json(200, { status: awake ? 'awake' : 'sleeping', tags: tags.length === 0 ? null : tags });
}

function pause(x: Exchange): void {
  readMode(x.query.get('mode') ?? 'abort');
  if ((x.query.get('mode') ?? 'abort') === 'abort') x.app.engine.abortAll();
  x.app.engine.freeze();
  x.json(200, { status: 'paused' });
}

function resume(x: Exchange): void {
  if (x.app.sleepLevel === 0) x.app.engine.thaw();
  x.json(200, { status: 'resumed' });
}

/** Counts the ids it was given, known or not. */
function abortRequests(x: Exchange): void {
  const ids = readJson(x)['request_ids'];
  x.json(200, { status: 'aborted', aborted: Array.isArray(ids) ? ids.length : 0 });
}

function collectiveRpc(x: Exchange): void {
  const method = String(readJson(x)['method'] ?? '');
  if (method === 'reload_weights') {
    x.app.weightsLost = false;
    x.json(200, { results: [null] });
    return;
  }
  x.vary = false;
  throw new RequestError(
    500,
    'InternalServerError',
    `Call to collective_rpc method failed: Worker failed with error ''CPUWorker' object has no attribute '${method}'', please check the stack trace above for the root cause`,
  );
}
