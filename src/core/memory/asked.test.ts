/** What a model asks is kept between plans: against plans of a model that keeps nothing, after anything may have changed. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  addResident,
  device,
  fleetOf,
  footprintOf,
  modelNamed,
  modelOn,
  shape,
  sizing,
} from '../../../test/support/resident-fleet.ts';
import { GIB } from '../../units.ts';
import type { FleetState, Model } from '../state.ts';
import { Asking } from './asked.ts';
import { booksOf } from './books.ts';
import { planIdle, planTurn, wouldStillFit } from './plan.ts';

const NOW = 1_000_000;
const IDS = ['gpu-0', 'gpu-1', 'gpu-2', 'gpu-3'];
const NAMES = ['declared', 'all', 'sized', 'auto', 'pair', 'shared', 'few'];

function fleet(wholeCard: boolean): FleetState {
  const over = (colocate: boolean) => ({ sizing: sizing({ colocate, autoParallel: !colocate, utilization: 0.5 }) });
  const state = fleetOf(
    IDS.map((id) => device(id, 24 * GIB)),
    [
      modelOn('declared', 9 * GIB, IDS),
      modelOn('all', null, IDS),
      modelOn('sized', null, IDS, 1, { sizing: sizing() }),
      modelOn('auto', null, IDS, 1, over(false)),
      modelOn('pair', null, IDS, 2),
      modelOn('shared', null, IDS, 1, over(true)),
      modelOn('few', null, IDS.slice(1, 3)),
      modelOn('there', 6 * GIB, IDS),
      modelOn('busy', 8 * GIB, IDS),
    ],
    { placementMode: wholeCard ? 'whole_card' : 'budget' },
  );
  addResident(state, { model: 'there', on: { 'gpu-0': 6 * GIB } });
  addResident(state, { model: 'busy', on: { 'gpu-1': 8 * GIB, 'gpu-2': 8 * GIB }, leases: 1 });
  return state;
}

const size = fc.constantFrom(2, 8, 12, 20, 30).map((gib) => gib * GIB);
const change = fc.oneof(
  fc.record({ what: fc.constantFrom('foreign', 'total', 'budget' as const), of: fc.nat(3), bytes: size }),
  fc.record({
    what: fc.constantFrom('class', 'quarantine', 'unmeasured', 'gone' as const),
    of: fc.nat(3),
    bytes: size,
  }),
  fc.record({
    what: fc.constantFrom('size', 'footprint', 'image', 'prepared', 'shortage', 'settings' as const),
    of: fc.nat(NAMES.length - 1),
    bytes: size,
  }),
  fc.record({ what: fc.constantFrom('rules', 'phase', 'nothing' as const), of: fc.nat(1), bytes: size }),
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

/** As events would: what is immutable is replaced. */
function apply(state: FleetState, { what, of, bytes }: Change): void {
  const on = state.devices.get(IDS[of] ?? '');
  const model = modelNamed(state, NAMES[of] ?? 'all');
  const resident = state.replicas.get(of === 0 ? 'there' : 'busy');
  if (on && what === 'foreign') on.foreignBytes = bytes;
  if (on && what === 'total') on.totalBytes = bytes;
  if (on && what === 'budget') on.budgetBytes = bytes;
  if (on && what === 'class') on.deviceClass = on.deviceClass === 'card' ? 'other' : 'card';
  if (on && what === 'quarantine') on.quarantine = on.quarantine === null ? 'stuck' : null;
  if (on && what === 'unmeasured') on.unmeasured = !on.unmeasured;
  if (on && what === 'gone' && of === 3) state.devices.delete(on.id);
  if (what === 'size') model.size = { kind: 'shape', shape: shape(bytes) };
  if (what === 'footprint') model.footprints = model.footprints.length > 0 ? [] : [footprintOf(model, bytes)];
  if (what === 'image') model.image = model.image === null ? 'sha256:one' : null;
  if (what === 'prepared') model.prepared = !model.prepared;
  if (what === 'shortage') model.shortage = model.shortage === 0 ? GIB : 0;
  if (what === 'settings') model.settings = { ...model.settings, deviceIds: IDS.slice(0, 1 + (bytes % 3)) };
  if (what === 'rules') {
    const memory = { ...state.settings.memory, overheadFactor: bytes > 10 * GIB ? 1.1 : 1.4 };
    state.settings = { ...state.settings, memory };
  }
  if (what === 'phase' && resident) resident.phase = resident.phase === 'ready' ? 'draining' : 'ready';
}

function decided(state: FleetState, model: Model): unknown {
  const books = booksOf(state);
  const plan = planIdle(state, model, NOW, books);
  return {
    plan,
    shortage: plan.kind === 'fits' ? null : plan.shortage,
    turn: planTurn(state, model, NOW, books),
    beside: IDS.map((id) => wouldStillFit(state, model, new Map([[id, 7 * GIB]]), books)),
  };
}

/** Of a model that was never planned before, by books of its own. */
function decidedAnew(state: FleetState, model: Model): unknown {
  const settings = { ...model.settings, deviceIds: [...model.settings.deviceIds] };
  return decided(state, { ...model, settings, asking: new Asking() });
}

it('plans are the same whether what a model asks was kept or is worked out anew, whatever has changed meanwhile', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.array(change, { maxLength: 12 }), (wholeCard, changes) => {
      const state = fleet(wholeCard);
      for (const it of [null, ...changes]) {
        if (it) apply(state, it);
        // By books that are shared, as those of one step are.
        const books = booksOf(state);
        for (const name of NAMES) {
          const model = modelNamed(state, name);
          const plan = planIdle(state, model, NOW, books);
          const anew = decidedAnew(state, model);
          expect(decided(state, model)).toEqual(anew);
          expect(plan).toEqual((anew as { readonly plan: unknown }).plan);
        }
      }
    }),
    { numRuns: 100 },
  );
});
