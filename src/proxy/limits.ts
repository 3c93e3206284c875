/** Every fixed bound of the data plane, with its unit. */
import { KIB, MINUTE, SECOND, HOUR } from '../units.ts';
import type { Bytes, Milliseconds } from '../units.ts';

/** A client must have sent its head by then; also how long a connection may sit between requests beyond keep-alive. */
export const HEADERS_TIMEOUT: Milliseconds = 10 * SECOND;
/** How often Node looks for overdue heads. */
export const CONNECTIONS_CHECK: Milliseconds = 1 * SECOND;
/** Longer than the idle time of common load balancers (60 s). */
export const KEEP_ALIVE: Milliseconds = 65 * SECOND;
/** Node's own ceiling on receiving one request; ours (BODY_GRACE and BODY_RATE) is stricter. */
export const REQUEST_TIMEOUT: Milliseconds = 30 * MINUTE;
/** A body must arrive in this time plus one second per BODY_RATE bytes received. */
export const BODY_GRACE: Milliseconds = 30 * SECOND;
export const BODY_RATE: Bytes = 16 * KIB;
export const MAX_HEADER_BYTES: Bytes = 16 * KIB;
export const MAX_HEADERS = 100;
export const MAX_REQUESTS_PER_SOCKET = 10_000;
/** Connections of clients; what comes beyond is closed at once. */
export const MAX_CONNECTIONS = 16_384;
/** Descriptors that clients never get: for engines, their logs, the probe, files, and whatever ends a process. */
export const OWN_DESCRIPTORS = 96;
/** Descriptors beyond these are for clients alone: requests in flight have a second one, to their engine. */
export const SHARED_DESCRIPTORS = 512;
export const LEAST_CONNECTIONS = 16;
/** Connections to a listener of the control plane alone: those of operators, beside all of the clients'. */
export const MAX_CONTROL_CONNECTIONS = 128;
/** Parsed requests that may wait behind the running one of a connection. */
export const MAX_PIPELINED = 16;
/** After an early refusal: what is still read and thrown away, and for how long. */
export const LINGER_BYTES: Bytes = 256 * KIB;
export const LINGER_TIME: Milliseconds = 1 * SECOND;
/** Nesting of a request body. */
export const MAX_DEPTH = 64;
export const MAX_TOP_LEVEL_KEYS = 4_096;
export const MAX_NAME_BYTES: Bytes = 1_024;
export const MAX_PARTS = 1_000;
/** Of all bodies together, what is looked at in one turn of the loop: even of the slowest JSON some milliseconds. */
export const BODY_TURN: Bytes = 256 * KIB;
/** Bodies up to this size do not count for it: there is one such read on a connection and turn anyway. */
export const SMALL_BODY: Bytes = 16 * KIB;
/** Head of one multipart part. */
export const MAX_PART_HEAD: Bytes = 8 * KIB;
/** A partial server-sent event is held back up to this size, then passed on as it is. */
export const MAX_HELD_FRAME: Bytes = 64 * KIB;
/** What is kept of an answer's end, to read its usage and how it ended. */
export const TAIL_BYTES: Bytes = 32 * KIB;
/** Error answers of engines are read whole up to this size, to see whether they have the route's shape. */
export const MAX_ERROR_BODY: Bytes = 64 * KIB;
/** Text of a wrapped engine error. */
export const MAX_ERROR_TEXT = 4 * KIB;
/** Interim (1xx) answers before the final one. */
export const MAX_INTERIM = 8;
/** A plain answer without a configured total may take this long. */
export const PLAIN_TOTAL: Milliseconds = 1 * HOUR;
/** Counters still move at a first-byte deadline: look again after this. */
export const MOVING_RECHECK: Milliseconds = 5 * SECOND;
/** A client that reads nothing for this long is cut off: it holds a slot. */
export const CLIENT_STALL: Milliseconds = 10 * MINUTE;
/** A lost connection is often the first sign of an exit that the controller learns of a moment later. */
export const EXIT_GRACE: Milliseconds = 150;
export const TICK: Milliseconds = 250;
/** A timer that fires so late: the process stood still, or the loop was blocked. */
export const LATE: Milliseconds = 1 * SECOND;
/** Where the caller gives no time to come back. */
export const DEFAULT_RETRY_AFTER: Milliseconds = 2 * SECOND;
export const MIN_RETRY_AFTER: Milliseconds = 1 * SECOND;
export const MAX_RETRY_AFTER: Milliseconds = 60 * SECOND;
/** Taken off a client's own time limit. */
export const PATIENCE_MARGIN: Milliseconds = 5 * SECOND;
/** Names listed in a `model_not_found` message. */
export const MAX_NAMES_LISTED = 20;
