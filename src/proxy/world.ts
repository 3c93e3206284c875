/** What every exchange shares. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Access } from '../auth/auth.ts';
import type { Gate } from '../controller/gate.ts';
import type { ModelState } from '../core/snapshot.ts';
import type { Platform } from '../platform/platform.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { BodyBudget } from './body-budget.ts';
import type { Network } from './network.ts';
import type { ProxySettings } from './settings.ts';
import type { ResponseWriters } from './response-writers.ts';
import type { Ticker } from './ticker.ts';
import type { TurnAllowance } from './turn-allowance.ts';
import type { Upstreams } from './upstreams.ts';

/** The control plane, as a listener sees it. */
export interface ControlPaths {
  /** `path`: raw, without the query. */
  owns(path: string): boolean;
  handle(request: IncomingMessage, response: ServerResponse): void;
}

export interface ProxyOptions {
  readonly settings: () => ProxySettings;
  readonly gate: Gate;
  readonly access: Access;
  readonly telemetry: Telemetry;
  readonly platform: Platform;
  readonly modelState: (model: string) => ModelState;
  /** The engine's token counters changed lately: it works, though no byte comes. */
  readonly countersMoving?: (replicaId: string) => boolean;
  readonly control?: ControlPaths;
  /** The system's, unless said otherwise. */
  readonly network?: Network;
}

export interface World extends ProxyOptions {
  readonly network: Network;
  readonly ticker: Ticker;
  readonly budget: BodyBudget;
  readonly turns: TurnAllowance;
  readonly upstreams: Upstreams;
  readonly writers: ResponseWriters;
  /** Unique for the life of the process, and unlike those of other processes. */
  readonly nextId: () => string;
  /** No connection is kept alive any more. */
  draining: boolean;
}
