/** What an earlier gateway process left behind: adopted when it is ours, unchanged and wanted; ended otherwise. */
import { capacity, held } from '../memory/ledger.ts';
import type { FoundReplica } from '../events.ts';
import { decide, refOf, type Run } from '../run.ts';
import type { Replica } from '../state.ts';
import { syncClocks } from './clocks.ts';
import { blank } from './start.ts';
import { gateIsFree, takeGate } from './start-gate.ts';
import { stopNow } from './stop.ts';
import { forgetPlace, isWanted } from './scaling.ts';

const STOP_TIMEOUT_UNKNOWN = 30_000;

export function found(run: Run, seen: FoundReplica): void {
  const { state, now } = run;
  if (state.replicas.has(seen.id)) return;
  const model = state.models.get(seen.model);
  const refusal = whyNot(run, seen);
  const replica: Replica = {
    ...blank(now),
    id: seen.id,
    generation: seen.generation,
    model: seen.model,
    driver: model?.settings.driver ?? 'process',
    specHash: seen.specHash,
    configVersion: state.settings.version,
    stopTimeout: model?.settings.stopTimeout ?? STOP_TIMEOUT_UNKNOWN,
    reservations: new Map([...seen.reservations].filter(([id]) => state.devices.has(id))),
    adopted: refusal === null,
    phase: 'starting',
    port: seen.port,
    endpoint: seen.endpoint,
    launchedAt: now,
  };
  state.replicas.set(replica.id, replica);
  if (seen.port !== null) state.ports.add(seen.port);
  if (model) model.generation = Math.max(model.generation, seen.generation);
  run.capacityChanged = true;
  if (refusal !== null || !model) {
    decide(
      run,
      'replica.not_adopted',
      { model: seen.model, replica: seen.id },
      `Left by an earlier run and not adopted: ${refusal ?? 'its model is not configured'}. It is stopped.`,
    );
    stopNow(run, replica, 'not_adopted');
    return;
  }
  forgetPlace(run, model);
  model.current = replica.id;
  if (gateIsFree(state, replica)) takeGate(state, replica);
  state.deadlines.set(`start:${replica.id}`, now + model.settings.startTimeout);
  state.deadlines.set(`stall:${replica.id}`, now + model.settings.startStallTimeout);
  syncClocks(run, model);
  run.effects.push({ kind: 'replica.adopt', replica: refOf(replica), model: model.name, endpoint: seen.endpoint });
}

/** Who asked for a model meanwhile, and got none of those that were found, gets a start now. */
export function endAdoption(run: Run): void {
  const { state } = run;
  state.adopting = false;
  for (const model of state.models.values()) {
    if (model.current === null && isWanted(model)) state.orphaned.add(model.name);
  }
}

function whyNot(run: Run, seen: FoundReplica): string | null {
  const { state } = run;
  if (seen.usable !== true) return seen.usable;
  const model = state.models.get(seen.model);
  if (!model) return 'its model is not configured any more';
  if (model.settings.specHash !== seen.specHash) return 'its configuration has changed';
  if (model.current !== null) return 'the model has another replica';
  if (state.shutdown) return 'the gateway is shutting down';
  if (model.settings.deviceCount !== seen.reservations.size) return 'it holds other devices than the model takes now';
  for (const [id, bytes] of seen.reservations) {
    const device = state.devices.get(id);
    if (!device) return `its device ${id} is not configured any more`;
    if (!model.settings.deviceIds.includes(id)) return `the model may not use device ${id} any more`;
    if (held(state, id) + bytes > capacity(device)) return `its memory does not fit on ${id}`;
  }
  return null;
}
