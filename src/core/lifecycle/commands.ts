/** What operators ask for: load, unload, pin; and a new configuration. */
import { gatewayError } from '../../errors.ts';
import { refuseAll } from '../admission/refuse.ts';
import { dispatch, syncGrantable } from '../admission/dispatch.ts';
import { newModel } from '../fleet.ts';
import { isPinned } from '../memory/eviction.ts';
import { currentOf, decide, type Run } from '../run.ts';
import type { FleetSettings } from '../settings.ts';
import type { Model, StopReason } from '../state.ts';
import { syncQueueDeadline } from './clocks.ts';
import { replaceDevices } from './devices.ts';
import { armIdle } from './idle.ts';
import { cancelPreparation, cancelUnwanted, lookAgain } from './prepare.ts';
import { forgetPlace, place } from './scaling.ts';
import { drain, stopNow, withdraw } from './stop.ts';
import { isWanted } from './wanted.ts';

export function load(run: Run, model: Model): void {
  if (model.current !== null) return;
  model.loadRequested = true;
  model.lastPlanFailure = null;
  // An operator's word ends the rest.
  model.backoff.until = null;
  run.state.deadlines.delete(`backoff:${model.name}`);
  place(run, model);
}

export function unload(run: Run, model: Model, reason: Extract<StopReason, 'unload' | 'reload'>): void {
  model.loadRequested = false;
  model.displaced.clear();
  cancelUnwanted(run, model);
  const replica = currentOf(run.state, model);
  if (!replica) {
    model.lastPlanFailure = null;
    // Tickets that wait keep their place in line, and so does what is to be on always.
    if (!isWanted(model)) forgetPlace(run, model);
    run.capacityChanged = true;
    return;
  }
  decide(
    run,
    'replica.unloaded',
    { model: model.name, replica: replica.id },
    reason === 'unload' ? 'An operator asked for it.' : 'Its configuration changed.',
  );
  if (replica.phase === 'reserved') withdraw(run, replica, 'Unloaded before it was launched.');
  else if (replica.phase === 'starting') stopNow(run, replica, reason);
  else drain(run, replica, reason);
  run.capacityChanged = true;
}

export function pin(run: Run, model: Model, pinned: boolean): void {
  if (model.pinned !== pinned) {
    model.pinned = pinned;
    const names = [...run.state.models.values()].filter((other) => other.pinned).map((other) => other.name);
    run.effects.push({ kind: 'pins.changed', pinned: names });
    decide(run, pinned ? 'model.pinned' : 'model.unpinned', { model: model.name }, 'An operator asked for it.');
  }
  const replica = currentOf(run.state, model);
  if (pinned && !replica) load(run, model);
  if (replica) armIdle(run, replica);
  cancelUnwanted(run, model);
  run.capacityChanged = true;
}

/** Tickets and leases keep what they were admitted under; only what is decided next follows the new settings. */
export function replaceSettings(run: Run, settings: FleetSettings): void {
  const { state } = run;
  state.settings = settings;
  replaceDevices(state, settings.devices);
  for (const model of state.models.values()) {
    const next = settings.models.get(model.name);
    if (next) changeModel(run, model, next);
    else removeModel(run, model);
  }
  for (const [name, model] of settings.models) {
    if (state.models.has(name)) continue;
    state.models.set(name, newModel(model, run.now));
    if (model.alwaysOn) state.orphaned.add(name);
  }
  // There may be more slots and leases than before.
  dispatch(run);
  run.capacityChanged = true;
}

function changeModel(run: Run, model: Model, next: Model['settings']): void {
  const changed = model.settings.specHash !== next.specHash;
  model.settings = next;
  lookAgain(run, model, changed);
  if (changed) unload(run, model, 'reload');
  if (next.unstartable) cancelPreparation(run, model, 'Its new settings forbid a start.');
  cancelUnwanted(run, model);
  const replica = currentOf(run.state, model);
  if (replica?.phase === 'reserved' && next.unstartable) withdraw(run, replica, 'Its new settings forbid a start.');
  else if (replica) armIdle(run, replica);
  if (model.current === null && (isPinned(model) || model.queue.size > 0)) run.state.orphaned.add(model.name);
  syncQueueDeadline(run, model);
  syncGrantable(run, model);
}

function removeModel(run: Run, model: Model): void {
  refuseAll(
    run,
    model,
    gatewayError('model_not_found', `Model '${model.name}' was removed from the configuration.`, { param: 'model' }),
  );
  unload(run, model, 'reload');
  cancelPreparation(run, model, 'It was removed from the configuration.');
  forgetPlace(run, model);
  for (const key of ['backoff', 'queue', 'turn', 'settle']) run.state.deadlines.delete(`${key}:${model.name}`);
  run.state.models.delete(model.name);
}
