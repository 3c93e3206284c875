/**
 * What a model asks of its devices. It follows from the model and from what the devices are, not from who stands on them, and
 * costs more than the rest of a plan: so it is kept until one of the things that it is worked out from is replaced.
 */
import type { Bytes } from '../../units.ts';
import type { Device, FleetState, Model } from '../state.ts';
import type { OpenBook, Shelf } from './books.ts';
import { allOf, isColocated, needOn, type Need } from './need.ts';
import type { MemoryRules } from './sizing.ts';
import { spanOf, type Span } from './span.ts';

/** What is asked of one device. */
export interface Ask {
  readonly need: Need;
  /** What must be free for it once it is ready; for one that is co-located also what it leaves free. */
  readonly bytes: Bytes;
  /** What must be free for it from launch to ready. */
  readonly peakBytes: Bytes;
  /** The larger of the two. */
  readonly mostBytes: Bytes;
  /** Co-located: a share smaller than this does not even hold its weights; null = not asked. */
  readonly floorBytes: Bytes | null;
}

export interface Asked {
  readonly span: Span;
  readonly colocated: boolean;
  /** One for each of its devices that exist, in their order. */
  readonly asks: readonly Ask[];
}

interface Kept extends Readonly<Pick<Model, 'settings' | 'size' | 'image' | 'prepared' | 'footprints' | 'shortage'>> {
  readonly span: Span;
  readonly colocated: boolean;
  /** Null: all that others leave free there, which changes with them. */
  readonly asks: readonly (Ask | null)[];
  /** The same, when none of them is null. */
  readonly asked: Asked | null;
  /** All of them are null. */
  readonly forAll: boolean;
  /** It follows from these, and from what is named above. */
  readonly rules: MemoryRules;
  readonly devices: readonly Device[];
}

/** What one model asks. Of the state it is no part that anybody could tell: whatever it keeps follows from the rest. */
export class Asking {
  #kept: Kept | null = null;

  /** `shelf`: of the devices of this model, which is always the same one. */
  now(state: FleetState, model: Model, shelf: Shelf): Asked {
    let kept = this.#kept;
    if (!kept || !isStillSo(kept, state, model) || !areStillSo(kept.devices, shelf)) {
      kept = askAnew(state, model, shelf.devices);
      this.#kept = kept;
    }
    return kept.asked ?? filled(kept, shelf);
  }
}

function filled({ asks, span, colocated, forAll }: Kept, shelf: Shelf): Asked {
  const fill = (): readonly Ask[] => shelf.books.map((book, index) => asks[index] ?? askForAll(book));
  if (!forAll) return { span, colocated, asks: fill() };
  shelf.asksForAll ??= fill();
  return { span, colocated, asks: shelf.asksForAll };
}

/** Settings, sizes and lists of footprints are never changed, only replaced. */
function isStillSo(kept: Kept, state: FleetState, model: Model): boolean {
  return (
    kept.settings === model.settings &&
    kept.footprints === model.footprints &&
    kept.size === model.size &&
    kept.image === model.image &&
    kept.prepared === model.prepared &&
    kept.shortage === model.shortage &&
    kept.rules === state.settings.memory
  );
}

function areStillSo(before: readonly Device[], shelf: Shelf): boolean {
  const { devices } = shelf;
  if (before === shelf.likeBefore) return true;
  const areSame = before.every((one, index) => {
    const now = devices[index];
    return now !== undefined && one.id === now.id && areAlike(one, now);
  });
  if (!areSame || before.length !== devices.length) return false;
  // Those who were planned together are asked about together.
  shelf.likeBefore = before;
  return true;
}

/** But for what others hold there. */
function areAlike(one: Device, other: Device): boolean {
  return (
    one.totalBytes === other.totalBytes &&
    one.budgetBytes === other.budgetBytes &&
    one.unmeasured === other.unmeasured &&
    one.deviceClass === other.deviceClass
  );
}

function askAnew(state: FleetState, model: Model, devices: readonly Device[]): Kept {
  const span = spanOf(state, model, devices);
  const colocated = isColocated(state, model);
  const asks: (Ask | null)[] = [];
  for (const [index, device] of devices.entries()) {
    const before = devices[index - 1];
    const known = before && areAlike(before, device) ? asks[index - 1] : undefined;
    asks.push(known === undefined ? askOf(state, model, device, span, colocated) : known);
  }
  const { settings, size, image, prepared, footprints, shortage } = model;
  return {
    span,
    colocated,
    asks,
    asked: asks.every((ask) => ask !== null) ? { span, colocated, asks } : null,
    forAll: asks.every((ask) => ask === null),
    settings,
    size,
    image,
    prepared,
    footprints,
    shortage,
    rules: state.settings.memory,
    devices,
  };
}

function askOf(
  state: FleetState,
  model: Model,
  device: Device,
  { tensorParallel, estimate }: Span,
  colocated: boolean,
): Ask | null {
  const need = needOn(state, model, device, tensorParallel, estimate);
  if (need.basis === 'discovery' && model.settings.sizing === null && !device.unmeasured) return null;
  if (!colocated || need.basis !== 'discovery' || device.unmeasured) return plainly(need);
  const { colocateMargin, weightOverhead } = state.settings.memory;
  const floorBytes = estimate === null ? null : Math.ceil(estimate.weightsBytes * weightOverhead);
  const bytes = Math.max(need.totalBytes, floorBytes === null ? 0 : floorBytes + colocateMargin);
  return { need, bytes, peakBytes: bytes, mostBytes: bytes, floorBytes };
}

function plainly(need: Need): Ask {
  const { totalBytes: bytes, peakBytes } = need;
  return { need, bytes, peakBytes, mostBytes: Math.max(bytes, peakBytes), floorBytes: null };
}

/** Whoever asks for it, it is the same. */
function askForAll(book: OpenBook): Ask {
  book.askForAll ??= plainly(allOf(book.device));
  return book.askForAll;
}
