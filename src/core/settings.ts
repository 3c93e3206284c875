/** What the core must know of the configuration. Immutable; a reload replaces the whole record. */
import type { StartFailureCause } from '../errors.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { MemoryRules, SizingSettings } from './memory/sizing.ts';

export type DriverKind = 'docker' | 'process' | 'external' | 'simulated';

export interface FleetSettings {
  /** Counts reloads; tickets and leases remember the one they were admitted under. */
  readonly version: number;
  readonly limits: {
    /** Leases gateway-wide: `max_concurrent` × `max_models_concurrent`. */
    readonly maxInFlight: number;
    /** 0 = replicas are never fenced. */
    readonly maxTurn: Milliseconds;
    readonly minResidency: Milliseconds;
    readonly drainTimeout: Milliseconds;
  };
  readonly retry: { readonly attempts: number };
  /** `begin`: the first one that is tried, `first` when left out, so that gateways with one range do not meet on the same ports. */
  readonly ports: { readonly first: number; readonly last: number; readonly begin?: number };
  readonly memory: MemoryRules;
  readonly devices: readonly DeviceSettings[];
  readonly models: ReadonlyMap<string, ModelSettings>;
}

export interface DeviceSettings {
  readonly id: string;
  readonly totalBytes: Bytes;
  /** What the gateway may promise in all: total × `budget_fraction`. */
  readonly budgetBytes: Bytes;
  readonly pool: string | null;
  readonly uuid: string | null;
  /** Model, size and driver of the device in one text: a footprint learned on another class says nothing here. */
  readonly deviceClass: string;
  /**
   * It stands for devices that cannot be read: nobody knows their bytes, so each model takes the whole of it, and one
   * runs at a time.
   */
  readonly unmeasured: boolean;
}

export interface ModelSettings {
  readonly name: string;
  readonly driver: DriverKind;
  /** Identity of everything that makes the engine what it is; aliases and limits are not part of it. */
  readonly specHash: string;
  /** Waiting tickets. */
  readonly maxQueueSize: number;
  /** Leases per replica. */
  readonly maxConcurrent: number;
  readonly queueTimeout: Milliseconds;
  /** 0 = never idle-stopped. */
  readonly inactivityTimeout: Milliseconds;
  readonly alwaysOn: boolean;
  readonly preload: boolean;
  readonly startTimeout: Milliseconds;
  readonly startStallTimeout: Milliseconds;
  readonly stopTimeout: Milliseconds;
  readonly stallTimeout: Milliseconds;
  /**
   * How many devices a replica takes (tensor parallel size) as configured; 0 when it takes no device memory. Where it is
   * 1 and `sizing` allows it, a model too large for one device takes as many as it needs.
   */
  readonly deviceCount: number;
  /** Devices it may use, in the order of the configuration. */
  readonly deviceIds: readonly string[];
  /** Declared bytes on each of its devices; null = a learned footprint, an estimate, or its share of each. */
  readonly memory: Bytes | null;
  /** What a need is computed from; null = nothing to compute (declared, or no device memory, or no engine that is known). */
  readonly sizing: SizingSettings | null;
  /** Metadata, image or weights are looked for, and fetched, before a start may take memory. */
  readonly needsPreparation: boolean;
  /** Takes a port of `ports` (process driver). */
  readonly needsPort: boolean;
  /** Set when this model can never start here; every request is told why. */
  readonly unstartable: { readonly cause: StartFailureCause; readonly message: string } | null;
}
