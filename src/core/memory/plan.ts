/** Placement and eviction together: what would it take to start this model now? Reads the state, changes nothing. */
import type { Bytes, Milliseconds } from '../../units.ts';
import { isProtected } from '../lifecycle/turns-rule.ts';
import type { LaunchShare } from '../launch.ts';
import type { Device, FleetState, Model, Replica } from '../state.ts';
import type { Ask } from './asked.ts';
import { booksOf, canLeave, holdersOn, idlersOn, type Books, type OpenBook } from './books.ts';
import {
  chooseVictims,
  evictableAt,
  EVICTION_POLICIES,
  isIdle,
  lossOf,
  type Candidate,
  type EvictionPolicy,
} from './eviction.ts';
import { shareFor, type Place } from './need.ts';
import {
  booksWhere,
  couldFitAlone,
  grantedBytes,
  isShutOut,
  isTooSmallAShare,
  newcomerOf,
  type Newcomer,
} from './newcomer.ts';
import { chooseDevices, hasGroup, type Offer } from './placement.ts';
import { shortageOf, type Shortage } from './shortage.ts';

export type { Books, Holder } from './books.ts';
export type { Shortage } from './shortage.ts';

export type Plan =
  | {
      readonly kind: 'fits';
      /** Bytes on each of its devices once it is ready … */
      readonly reservations: ReadonlyMap<string, Bytes>;
      /** … and from launch to ready: at least the reservation. */
      readonly peaks: ReadonlyMap<string, Bytes>;
      /** What the engine is told. */
      readonly share: LaunchShare;
      readonly victims: readonly string[];
    }
  /** Memory could fit it once others have left. `retryAt`: an idle victim will be free to go then. */
  | { readonly kind: 'wait'; readonly shortage: Shortage; readonly retryAt: Milliseconds | null }
  /** Would not fit even if all that may leave had left. `never`: not even on empty devices. */
  | { readonly kind: 'impossible'; readonly shortage: Shortage; readonly never: boolean };

type Fits = Extract<Plan, { kind: 'fits' }>;

interface PlaceOffer extends Offer {
  readonly ask: Ask;
  readonly book: OpenBook;
}

interface Leavers {
  /** A replica as a candidate with its bytes on the device in question; undefined when it may not leave. */
  readonly mayLeave: (replica: Replica, bytes: Bytes) => Candidate | undefined;
  /** They cannot free more than this on a device. */
  readonly atMost: (book: OpenBook) => Bytes;
}

const policyOf = (state: FleetState): EvictionPolicy => EVICTION_POLICIES[state.settings.memory.eviction];

/** Where nobody looks at it, nobody computes it. */
const lossFor = (state: FleetState, replica: Replica, now: Milliseconds): number =>
  policyOf(state).weighsLoss ? lossOf(state, replica, now) : 0;

/** Nobody leaves for a model that may not start yet. */
const rests = (model: Model, now: Milliseconds): boolean => model.backoff.until !== null && now < model.backoff.until;

function offers(state: FleetState, newcomer: Newcomer, { mayLeave, atMost }: Leavers): PlaceOffer[] {
  const found: PlaceOffer[] = [];
  const { asks, books } = newcomer;
  for (let index = 0; index < books.length; index += 1) {
    const [ask, book] = [asks[index], books[index]];
    if (!ask || !book?.takesStarts || isShutOut(newcomer, book) || isTooSmallAShare(ask)) continue;
    const { bytes, peakBytes } = ask;
    if (bytes <= 0 || ask.mostBytes > book.capacityBytes) continue;
    const room = book.capacityBytes - book.steady;
    const missing = bytes + Math.max(book.excess, peakBytes - bytes) - room;
    const candidates: Candidate[] = [];
    if (missing > 0) {
      if (atMost(book) < missing) continue;
      for (const replica of book.residents) {
        const candidate = mayLeave(replica, replica.reservations.get(book.device.id) ?? 0);
        if (candidate) candidates.push(candidate);
      }
    }
    const victims = chooseVictims(candidates, missing, policyOf(state));
    if (!victims) continue;
    const freed = victims.reduce((sum, victim) => sum + victim.bytes, 0);
    const { id: deviceId, totalBytes } = book.device;
    found.push({ ask, book, deviceId, missing, victims, freeLeft: room + freed - bytes, totalBytes });
  }
  return found;
}

function asPlan(state: FleetState, newcomer: Newcomer, chosen: readonly PlaceOffer[]): Fits {
  const places: Place[] = [];
  const peaks = new Map<string, Bytes>();
  for (const { ask, book, deviceId, freeLeft } of chosen) {
    const bytes = grantedBytes(state, newcomer, ask, freeLeft + ask.bytes);
    places.push({ device: book.device, need: ask.need, bytes });
    peaks.set(deviceId, Math.max(bytes, bytes === ask.need.totalBytes ? ask.need.peakBytes : bytes));
  }
  return {
    kind: 'fits',
    reservations: new Map(places.map(({ device, bytes }) => [device.id, bytes])),
    peaks,
    share: shareFor(state, newcomer.model, places, newcomer.span.tensorParallel),
    victims: neededVictims(state, chosen),
  };
}

/** A victim of one device may make room on another too: then what was chosen there is spared, the least willing first. */
function neededVictims(state: FleetState, chosen: readonly Offer[]): string[] {
  const victims = new Map(chosen.flatMap((offer) => offer.victims.map((victim) => [victim.id, victim] as const)));
  if (chosen.length < 2) return [...victims.keys()];
  const suffices = (without: string): boolean =>
    chosen.every(({ deviceId, missing }) => {
      let freed = 0;
      for (const id of victims.keys()) {
        if (id !== without) freed += state.replicas.get(id)?.reservations.get(deviceId) ?? 0;
      }
      return freed >= missing;
    });
  for (const { id } of [...victims.values()].toSorted(policyOf(state).order).toReversed()) {
    if (suffices(id)) victims.delete(id);
  }
  return [...victims.keys()];
}

/** Without touching work in progress: free bytes and idle replicas only. */
export function planIdle(state: FleetState, model: Model, now: Milliseconds, books: Books = booksOf(state)): Plan {
  const newcomer = newcomerOf(state, model, books);
  if (newcomer.span.devices === 0) return asPlan(state, newcomer, []);
  const { minResidency } = state.settings.limits;
  let retryAt: Milliseconds | null = null;
  const resting = rests(model, now);
  const mayLeave = (replica: Replica, bytes: Bytes): Candidate | undefined => {
    if (!isIdle(state, replica) || evictableAt(replica, minResidency) > now) return undefined;
    const young = now - (replica.readyAt ?? now) < minResidency;
    const { id, idleSince } = replica;
    return { id, bytes, idleSince, young, busy: 0, loss: lossFor(state, replica, now) };
  };
  const atMost = (book: OpenBook): Bytes => {
    if (resting) return 0;
    const { bytes, laterAt } = idlersOn(state, book, now);
    if (laterAt !== null) retryAt = Math.min(retryAt ?? Infinity, laterAt);
    return bytes;
  };
  const chosen = chooseDevices(offers(state, newcomer, { mayLeave, atMost }), newcomer.span.devices, policyOf(state));
  if (chosen) return asPlan(state, newcomer, chosen);
  for (const book of newcomer.books) holdersOn(state, book);
  if (couldEverFit(newcomer)) return new WaitPlan(newcomer, resting ? model.backoff.until : retryAt);
  const never = !hasGroup(devicesWhere(newcomer, couldFitAlone), newcomer.span.devices);
  return { kind: 'impossible', shortage: shortageOf(newcomer, never ? 'never' : 'impossible'), never };
}

/** Most are replaced by the next before anybody asks what exactly is missing. */
class WaitPlan {
  readonly kind = 'wait';
  readonly retryAt: Milliseconds | null;
  readonly #newcomer: Newcomer;
  #shortage: Shortage | null = null;

  constructor(newcomer: Newcomer, retryAt: Milliseconds | null) {
    this.#newcomer = newcomer;
    this.retryAt = retryAt;
  }

  get shortage(): Shortage {
    this.#shortage ??= shortageOf(this.#newcomer, 'wait');
    return this.#shortage;
  }
}

/** With fences: busy replicas that have had their turn may be asked to leave too. Undefined when no set of them makes room. */
export function planTurn(
  state: FleetState,
  model: Model,
  now: Milliseconds,
  books: Books = booksOf(state),
): Fits | undefined {
  if (rests(model, now)) return undefined;
  const newcomer = newcomerOf(state, model, books);
  const mayLeave = (replica: Replica, bytes: Bytes): Candidate | undefined => {
    if (replica.phase !== 'ready' || !canLeave(replica, state.models.get(replica.model))) return undefined;
    const idle = isIdle(state, replica);
    if (!idle && isProtected(state, replica, now)) return undefined;
    const { id, idleSince } = replica;
    // Idle ones go first, then those with the fewest leases to wait for.
    const busy = idle ? 0 : 1 + replica.leases.size;
    return { id, bytes, idleSince, young: false, busy, loss: lossFor(state, replica, now) };
  };
  const leavers = { mayLeave, atMost: ({ steady, keptBytes }: OpenBook): Bytes => Math.max(0, steady - keptBytes) };
  const chosen = chooseDevices(offers(state, newcomer, leavers), newcomer.span.devices, policyOf(state));
  return chosen ? asPlan(state, newcomer, chosen) : undefined;
}

/**
 * True when the model would still fit some day if these bytes were taken on top of what is there now. One that waits for a
 * device that takes no start, and would not do without it, loses nothing: when that device comes back, nobody knows.
 */
export function wouldStillFit(
  state: FleetState,
  model: Model,
  taken: ReadonlyMap<string, Bytes>,
  books: Books = booksOf(state),
): boolean {
  // What it may not use anyway takes nothing away from it.
  if (!model.settings.deviceIds.some((id) => taken.has(id))) return true;
  const newcomer = newcomerOf(state, model, books);
  const isOpen = ({ takesStarts }: OpenBook): boolean => takesStarts;
  return !couldEverFit(newcomer, isOpen) || couldEverFit(newcomer, isOpen, taken);
}

const devicesWhere = (newcomer: Newcomer, holds: (ask: Ask, book: OpenBook) => boolean): Device[] =>
  booksWhere(newcomer, holds).map(({ device }) => device);

/** A device that cannot be read now will be read again; one in quarantine may stay there. */
function couldEverFit(
  newcomer: Newcomer,
  counts: ((book: OpenBook) => boolean) | null = null,
  taken: ReadonlyMap<string, Bytes> | null = null,
): boolean {
  const { colocated, asks, books, span } = newcomer;
  const isRoomy = (ask: Ask, book: OpenBook): boolean => {
    if (book.device.quarantine !== null || ask.bytes <= 0 || isTooSmallAShare(ask)) return false;
    if ((colocated && book.unsharedKept) || counts?.(book) === false) return false;
    const staying = book.keptBytes + (taken?.get(book.device.id) ?? 0);
    return ask.mostBytes <= book.capacityBytes - staying;
  };
  if (span.devices !== 1) return hasGroup(devicesWhere(newcomer, isRoomy), span.devices);
  for (let index = 0; index < books.length; index += 1) {
    const [ask, book] = [asks[index], books[index]];
    if (ask && book && isRoomy(ask, book)) return true;
  }
  return false;
}
