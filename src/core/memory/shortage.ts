/** Why a model has no place, in numbers: what it asks of each device, what is free there, who holds the rest. */
import type { Bytes } from '../../units.ts';
import type { Holder, OpenBook } from './books.ts';
import type { Ask } from './asked.ts';
import { isSilent } from './ledger.ts';
import type { Need } from './need.ts';
import { booksWhere, couldFitAlone, fitsAlone, isShutOut, isTooSmallAShare, type Newcomer } from './newcomer.ts';
import { hasGroup } from './placement.ts';

export type ShortageCause =
  /** It may use none, or none of those is there. */
  | 'no_device'
  /** It needs several of about equal size. */
  | 'no_group'
  /** Larger than any device, */
  | 'too_large'
  /** or than what may be promised of any. */
  | 'over_budget'
  /** Co-located: its share would not hold its weights. */
  | 'weights'
  /** Devices cannot be read. */
  | 'unseen'
  | 'quarantined'
  /** Processes outside the gateway hold what it needs. */
  | 'foreign'
  /** What is pinned or always on holds it. */
  | 'kept'
  /** Co-located models and others do not share a device. */
  | 'unshared'
  /** What is busy, starting, young or leaving holds it. */
  | 'held';

type Outcome = 'wait' | 'impossible' | 'never';

export interface DeviceShortage {
  readonly deviceId: string;
  readonly totalBytes: Bytes;
  readonly budgetBytes: Bytes;
  /** What may be promised there: the budget, and not what others hold. */
  readonly capacityBytes: Bytes;
  /** Of it not promised, once all that is leaving has left. */
  readonly freeBytes: Bytes;
  readonly neededBytes: Bytes;
  /** Positive unless something else than bytes forbids a start. */
  readonly missingBytes: Bytes;
  readonly foreignBytes: Bytes;
  readonly holders: readonly Holder[];
  /** Why no start may begin there, whatever is free. */
  readonly trouble: string | null;
}

export interface Shortage {
  readonly cause: ShortageCause;
  readonly pool: string | null;
  /** On how many devices it needs a place. */
  readonly devices: number;
  /** What its engine would be told: differs where one unmeasured device stands for several. */
  readonly tensorParallel: number;
  readonly neededBytes: Bytes;
  /** On the device that comes closest (of several: on the last one that it needs). */
  readonly missingBytes: Bytes;
  readonly deviceId: string | null;
  readonly holders: readonly Holder[];
  readonly foreignBytes: Bytes;
  /** What it would need on that device. */
  readonly need: Need | null;
  /** Least that its share must hold, when that is what fails. */
  readonly floorBytes: Bytes | null;
  /** All its devices, those that come closest first. */
  readonly places: readonly DeviceShortage[];
}

/** Of what its asks and their books say alone: nothing that changes later changes it. */
export function shortageOf(newcomer: Newcomer, outcome: Outcome): Shortage {
  const { span, asks, books, model } = newcomer;
  const places = asks.flatMap((ask, index) => {
    const book = books[index];
    return book ? [{ ask, place: placeOf(ask, book, outcome === 'never') }] : [];
  });
  places.sort(({ place: one }, { place: other }) => one.missingBytes - other.missingBytes);
  const usable = places.filter(({ place }) => place.trouble === null);
  const closest = (usable.length >= span.devices ? usable : places)[Math.max(1, span.devices) - 1] ?? places.at(-1);
  const { ask, place } = closest ?? {};
  const pools = new Set(books.map(({ device }) => device.pool));
  return {
    cause: causeOf(newcomer, outcome),
    pool: pools.size === 1 ? ([...pools][0] ?? null) : null,
    devices: span.devices,
    tensorParallel: span.tensorParallel,
    neededBytes: place?.neededBytes ?? model.settings.memory ?? 0,
    missingBytes: Math.max(0, place?.missingBytes ?? 0),
    deviceId: place?.deviceId ?? null,
    holders: place?.holders ?? [],
    foreignBytes: place?.foreignBytes ?? 0,
    need: ask?.need ?? null,
    floorBytes: ask?.floorBytes ?? null,
    places: places.map((it) => it.place),
  };
}

/** `never`: what is missing is missing on an empty device too. */
function placeOf({ need, bytes, peakBytes, mostBytes }: Ask, book: OpenBook, never: boolean): DeviceShortage {
  const { device, capacityBytes } = book;
  const room = capacityBytes - book.steady;
  return {
    deviceId: device.id,
    totalBytes: device.totalBytes,
    budgetBytes: device.budgetBytes,
    capacityBytes,
    freeBytes: Math.max(0, room - book.excess),
    neededBytes: need.totalBytes,
    missingBytes: never ? mostBytes - device.budgetBytes : bytes + Math.max(book.excess, peakBytes - bytes) - room,
    foreignBytes: device.foreignBytes,
    holders: book.holders ?? [],
    trouble: device.quarantine ?? (isSilent(device) ? device.silent : null),
  };
}

/** The first thing that would have to change. */
function causeOf(newcomer: Newcomer, outcome: Outcome): ShortageCause {
  const { asks, span } = newcomer;
  const enough = (test: (ask: Ask, book: OpenBook) => boolean): boolean =>
    hasGroup(
      booksWhere(newcomer, test).map(({ device }) => device),
      span.devices,
    );
  if (asks.length === 0) return 'no_device';
  if (outcome === 'never') {
    if (!enough(() => true)) return 'no_group';
    if (asks.some(isTooSmallAShare)) return 'weights';
    return enough(({ bytes }, { device }) => bytes <= device.totalBytes) ? 'over_budget' : 'too_large';
  }
  if (!enough((ask, book) => couldFitAlone(ask, book) && book.device.quarantine === null)) return 'quarantined';
  if (!enough((ask, book) => couldFitAlone(ask, book) && book.takesStarts)) return 'unseen';
  if (!enough((ask, book) => book.takesStarts && fitsAlone(ask, book))) return 'foreign';
  if (newcomer.colocated && !enough((ask, book) => fitsAlone(ask, book) && !isShutOut(newcomer, book)))
    return 'unshared';
  return outcome === 'wait' ? 'held' : 'kept';
}
