/**
 * Before a start may take memory, the model's metadata, image and weights are made present. Nothing is promised and nobody
 * is evicted meanwhile; a download that hangs keeps nobody from anything but its own model.
 */
import type { StartFailureCause } from '../../errors.ts';
import { formatSize } from '../../units.ts';
import type { ModelSize } from '../memory/model-shape.ts';
import { decide, type Run } from '../run.ts';
import type { Model } from '../state.ts';
import { syncClocks } from './clocks.ts';
import { failWaiters } from './failure.ts';
import { advanced } from './phase-progress.ts';
import { isWanted } from './wanted.ts';

/** The model is wanted, rests not and is not prepared. */
export function prepare(run: Run, model: Model): void {
  if (model.preparation) return;
  model.preparation = { since: run.now, progress: advanced(null, 'metadata', null, run.now) };
  run.state.deadlines.set(`prepare:${model.name}`, run.now + model.settings.startTimeout);
  showsLife(run, model);
  syncClocks(run, model);
  decide(run, 'model.preparing', { model: model.name }, 'Its files are looked for before it takes memory.');
  run.effects.push({ kind: 'model.prepare', model: model.name });
}

function showsLife(run: Run, model: Model): void {
  run.state.deadlines.set(`prepstall:${model.name}`, run.now + model.settings.startStallTimeout);
}

function end(run: Run, model: Model): void {
  model.preparation = null;
  run.state.deadlines.delete(`prepare:${model.name}`);
  run.state.deadlines.delete(`prepstall:${model.name}`);
  syncClocks(run, model);
}

export function sized(run: Run, model: Model, size: ModelSize): void {
  if (!model.preparation) return;
  showsLife(run, model);
  model.size = size;
  decide(run, 'model.sized', { model: model.name }, describe(size));
}

function describe(size: ModelSize): string {
  if (size.kind === 'unknown') return `Its size is not known (${size.reason}): it is measured once it is ready.`;
  const { weightBytes, notes } = size.shape;
  const weights =
    weightBytes === null ? 'The size of its weights is not known.' : `Weights: ${formatSize(weightBytes)}.`;
  return [weights, ...notes].join(' ');
}

export function prepareProgressed(run: Run, model: Model, phase: string, fraction: number | null): void {
  if (!model.preparation) return;
  model.preparation.progress = advanced(model.preparation.progress, phase, fraction, run.now);
  showsLife(run, model);
}

export function prepared(run: Run, model: Model, image: string | null): void {
  if (!model.preparation) return;
  const seconds = ((run.now - model.preparation.since) / 1000).toFixed(1);
  end(run, model);
  model.prepared = true;
  model.image = image;
  decide(run, 'model.prepared', { model: model.name }, `Everything that its start needs is there after ${seconds} s.`);
  run.state.orphaned.add(model.name);
}

export function prepareFailed(run: Run, model: Model, cause: StartFailureCause, message: string): void {
  if (!model.preparation) return;
  end(run, model);
  decide(run, 'model.prepare_failed', { model: model.name }, message, { cause });
  failWaiters(run, model, cause, message);
}

export function prepareTimeOut(run: Run, model: Model, which: 'prepare' | 'prepstall'): void {
  if (!model.preparation) return;
  const { phase } = model.preparation.progress;
  const { startTimeout, startStallTimeout } = model.settings;
  const message =
    which === 'prepare'
      ? `its files were not there within ${Math.round(startTimeout / 1000)} s (start_timeout); last phase: ${phase}.`
      : `fetching its files showed no progress for ${Math.round(startStallTimeout / 1000)} s (start_stall_timeout); last phase: ${phase}.`;
  run.effects.push({ kind: 'model.prepare_cancelled', model: model.name });
  prepareFailed(run, model, 'start_timeout', message);
}

/** Its settings, or the gateway's end, forbid that it goes on. */
export function cancelPreparation(run: Run, model: Model, why: string): void {
  if (!model.preparation) return;
  end(run, model);
  decide(run, 'model.prepare_cancelled', { model: model.name }, why);
  run.effects.push({ kind: 'model.prepare_cancelled', model: model.name });
}

export function cancelUnwanted(run: Run, model: Model): void {
  if (model.preparation && !isWanted(model)) cancelPreparation(run, model, 'Nobody waits for it any more.');
}

/** Its settings changed: what was found out holds no longer where it hung on them. */
export function lookAgain(run: Run, model: Model, changed: boolean): void {
  const { settings } = model;
  if (changed) {
    cancelPreparation(run, model, 'Its configuration changed.');
    model.size = null;
    model.image = null;
    model.shortage = 0;
    model.prepared = !settings.needsPreparation;
  } else if (!settings.needsPreparation) {
    cancelPreparation(run, model, 'It needs none any more.');
    model.prepared = true;
  } else if (settings.sizing !== null && model.size === null && model.current === null) {
    model.prepared = false;
  }
}
