/**
 * The books of all devices at one moment, opened once for all models that are planned at it: what is summed over the
 * residents of a device is the same for each of them. They hold until anything that they tell of changes.
 */
import type { Bytes, Milliseconds } from '../../units.ts';
import type { Device, FleetState, Model, Replica } from '../state.ts';
import type { Ask } from './asked.ts';
import { evictableAt, isIdle, isPinned } from './eviction.ts';
import { capacity, enter, isLeaving, takesStarts, type DeviceBook } from './ledger.ts';
import { isColocated } from './need.ts';

export interface Holder {
  readonly replica: string;
  readonly model: string;
  readonly bytes: Bytes;
  readonly why: 'pinned' | 'busy' | 'starting' | 'leaving' | 'idle' | 'stuck';
  /** Requests that it works on. */
  readonly leases: number;
}

/** Residents that may leave for another without harm to anybody. */
export interface Idlers {
  readonly at: Milliseconds;
  /** Of those that may leave at `at`. */
  readonly bytes: Bytes;
  /** When the first of the others may; null = there are none. */
  readonly laterAt: Milliseconds | null;
}

export interface OpenBook extends DeviceBook {
  /** As it stood when the book was opened: what is told of a plan later is told of that moment. */
  readonly device: Device;
  /** What may be promised there. */
  readonly capacityBytes: Bytes;
  /** A start may begin there. */
  readonly takesStarts: boolean;
  /** Bytes of residents that do not leave for anybody. */
  keptBytes: Bytes;
  /** One that shares nothing with co-located models stands there; and so does one of those that do not leave. */
  unshared: boolean;
  unsharedKept: boolean;
  /** Found when they are first asked for. */
  holders: readonly Holder[] | null;
  /** Of whoever takes all that others leave free there. */
  askForAll: Ask | null;
  idlers: Idlers | null;
}

/** The books of some devices that exist, in an order that was asked for. */
export interface Shelf {
  readonly books: readonly OpenBook[];
  /** Of these books. */
  readonly devices: readonly Device[];
  /** Others, as they were some time ago, that were found to be alike. */
  likeBefore: readonly Device[] | null;
  /** The earliest moment from `from` on at which a resident has had its turn, as last looked for. */
  nextTurn: { readonly from: Milliseconds; readonly at: Milliseconds | null } | null;
  /** Of whoever takes all that others leave free on each. */
  asksForAll: readonly Ask[] | null;
}

export class Books {
  readonly #books = new Map<string, OpenBook>();
  /** By lists of devices: models share few of them. */
  readonly #shelves = new Map<readonly string[], Shelf>();
  #last: { readonly of: readonly string[]; readonly shelf: Shelf } | null = null;

  get(deviceId: string): OpenBook | undefined {
    return this.#books.get(deviceId);
  }

  add(book: OpenBook): void {
    this.#books.set(book.device.id, book);
  }

  shelf(deviceIds: readonly string[]): Shelf {
    if (this.#last?.of === deviceIds) return this.#last.shelf;
    const shelf = this.#shelves.get(deviceIds) ?? this.#openShelf(deviceIds);
    this.#last = { of: deviceIds, shelf };
    return shelf;
  }

  #openShelf(deviceIds: readonly string[]): Shelf {
    const books: OpenBook[] = [];
    for (const id of deviceIds) {
      const book = this.#books.get(id);
      if (book) books.push(book);
    }
    const shelf = {
      books,
      devices: books.map(({ device }) => device),
      likeBefore: null,
      nextTurn: null,
      asksForAll: null,
    };
    this.#shelves.set(deviceIds, shelf);
    return shelf;
  }
}

export function booksOf(state: FleetState): Books {
  const books = new Books();
  for (const device of state.devices.values()) books.add(openBook(device));
  for (const replica of state.replicas.values()) {
    const owner = state.models.get(replica.model);
    const stays = !canLeave(replica, owner);
    const alone = owner === undefined || !isColocated(state, owner);
    for (const [id, bytes] of replica.reservations) {
      const book = books.get(id);
      if (!book) continue;
      enter(book, replica, id);
      if (stays) book.keptBytes += bytes;
      if (alone) book.unshared = true;
      if (alone && stays) book.unsharedKept = true;
    }
  }
  return books;
}

function openBook(device: Device): OpenBook {
  return {
    held: 0,
    steady: 0,
    excess: 0,
    residents: [],
    device: copyOf(device),
    capacityBytes: capacity(device),
    takesStarts: takesStarts(device),
    keptBytes: 0,
    unshared: false,
    unsharedKept: false,
    holders: null,
    askForAll: null,
    idlers: null,
  };
}

/** Field by field: a spread costs ten times as much, and this is done for each device of each plan. */
function copyOf(device: Device): Device {
  return {
    id: device.id,
    totalBytes: device.totalBytes,
    budgetBytes: device.budgetBytes,
    pool: device.pool,
    uuid: device.uuid,
    deviceClass: device.deviceClass,
    unmeasured: device.unmeasured,
    usedBytes: device.usedBytes,
    observedAt: device.observedAt,
    foreignBytes: device.foreignBytes,
    silent: device.silent,
    gateHolder: device.gateHolder,
    gateSince: device.gateSince,
    quarantine: device.quarantine,
  };
}

/** May it ever be asked to leave for another? */
export function canLeave(replica: Replica, owner: Model | undefined): boolean {
  if (replica.phase === 'zombie') return false;
  return owner === undefined || !isPinned(owner) || isLeaving(replica);
}

/** Who holds it, as it is when this is first asked for. */
export function holdersOn(state: FleetState, book: OpenBook): readonly Holder[] {
  book.holders ??= book.residents.map((replica) => holderOf(state, replica, book.device.id));
  return book.holders;
}

export function holderOf(state: FleetState, replica: Replica, deviceId: string): Holder {
  const model = state.models.get(replica.model);
  const why = ((): Holder['why'] => {
    if (replica.phase === 'zombie') return 'stuck';
    if (isLeaving(replica)) return 'leaving';
    if (model && isPinned(model)) return 'pinned';
    if (replica.phase === 'reserved' || replica.phase === 'starting') return 'starting';
    return replica.leases.size > 0 || (model?.queue.size ?? 0) > 0 ? 'busy' : 'idle';
  })();
  const bytes = replica.reservations.get(deviceId) ?? 0;
  return { replica: replica.id, model: replica.model, bytes, why, leases: replica.leases.size };
}

export function idlersOn(state: FleetState, book: OpenBook, now: Milliseconds): Idlers {
  if (book.idlers?.at === now) return book.idlers;
  const { minResidency } = state.settings.limits;
  let bytes = 0;
  let laterAt: Milliseconds | null = null;
  for (const replica of book.residents) {
    if (!isIdle(state, replica)) continue;
    const at = evictableAt(replica, minResidency);
    if (at > now) laterAt = Math.min(laterAt ?? Infinity, at);
    else bytes += Math.max(0, replica.reservations.get(book.device.id) ?? 0);
  }
  book.idlers = { at: now, bytes, laterAt };
  return book.idlers;
}
