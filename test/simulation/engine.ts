/** One engine process: what it is, what it was told, and what it truly takes. */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import type { LaunchShare } from '../../src/core/launch.ts';
import type { Footprint } from '../../src/core/memory/footprint.ts';
import type { Endpoint, FleetState, ReplicaRef } from '../../src/core/state.ts';
import type { Bytes, Milliseconds } from '../../src/units.ts';
import type { Owner } from './device-memory.ts';
import { deviceSettings, UNREAD, type Scenario, type SimulatedModel } from './scenario.ts';

export type Launch = Extract<FleetEffect, { kind: 'replica.launch' }>;

export interface Engine extends Owner {
  readonly ref: ReplicaRef;
  readonly model: string;
  readonly specHash: string;
  /** As promised when it was launched. */
  readonly reservations: ReadonlyMap<string, Bytes>;
  readonly share: LaunchShare;
  readonly steady: ReadonlyMap<string, Bytes>;
  readonly peak: ReadonlyMap<string, Bytes>;
  readonly port: number | null;
  readonly endpoint: Endpoint;
  readonly hasCounters: boolean;
  readonly milestones: boolean;
  phase: 'spawning' | 'loading' | 'ready' | 'exited' | 'gone';
  readonly launchedAt: Milliseconds;
  /** From when on it answers health and nothing else. */
  hungSince: Milliseconds;
  /** Health is refused. */
  sick: boolean;
  slowHealth: boolean;
  /** The life of the gateway that listens to it. */
  life: number;
  readonly bornIn: number;
  stopAsked: boolean;
  watched: boolean;
  /** Requests in hand, told when it dies. */
  readonly work: Map<string, () => void>;
}

interface Birth {
  readonly truth: Pick<Engine, 'steady' | 'peak'>;
  readonly foreseen: ReadonlyMap<string, Bytes>;
  readonly now: Milliseconds;
  readonly life: number;
  readonly pid: number;
}

export function newEngine(effect: Launch, model: SimulatedModel | undefined, birth: Birth): Engine {
  const { now, life, pid } = birth;
  return {
    ref: effect.replica,
    model: effect.model,
    specHash: effect.specHash,
    reservations: effect.reservations,
    share: effect.share,
    ...birth.truth,
    fixed: effect.share.kvCacheBytes !== null,
    window: 'before',
    foreseen: birth.foreseen,
    missizedBy: null,
    milestones: model?.milestones ?? true,
    launchedAt: now,
    bornIn: life,
    port: effect.port,
    endpoint: { origin: `sim://${effect.replica.id}`, pathPrefix: '', pid, container: null },
    hasCounters: model?.hasCounters ?? true,
    phase: 'spawning',
    hungSince: Infinity,
    forgotten: false,
    sick: false,
    slowHealth: false,
    life,
    stopAsked: false,
    watched: false,
    work: new Map(),
  };
}

/** Of others on each device, as the gateway knows them. */
export function foreignBytes(state: FleetState): ReadonlyMap<string, Bytes> {
  return new Map([...state.devices.values()].map((device) => [device.id, device.foreignBytes]));
}

/** A reading that found none of its bytes. */
export const sawNothing = ({ ref, steady }: Engine): FleetEvent => ({
  ...{ kind: 'replica.measured', replica: ref, footprint: null },
  steady: new Map([...steady.keys()].map((id) => [id, 0])),
});

interface Truth {
  readonly steady: Bytes;
  readonly peak: Bytes;
}

/** What engines take, whatever was promised to them. */
export class Truths {
  readonly #scenario: Scenario;
  /** Of the wall clock against that which never jumps. */
  wallOffset: Milliseconds = 0;
  /** Of what somebody has seen: the next start is the same. */
  readonly #seen = new Map<string, Truth>();

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
  }

  of(launch: Launch, model: SimulatedModel | undefined): Pick<Engine, 'steady' | 'peak'> {
    const steady = new Map<string, Bytes>();
    const peak = new Map<string, Bytes>();
    const declared = model?.settings.memory !== null;
    const truth = model?.truth ?? { steady: 1, peak: 1 };
    for (const [id, promised] of this.#places(launch, model)) {
      const seen = declared ? undefined : this.#seen.get(this.#key(launch, id));
      steady.set(id, seen?.steady ?? Math.max(1, Math.ceil(promised * truth.steady)));
      peak.set(id, seen?.peak ?? Math.max(1, Math.ceil(promised * truth.peak)));
    }
    return { steady, peak };
  }

  footprint(engine: Engine, model: SimulatedModel, now: Milliseconds): Footprint {
    const [id = ''] = engine.steady.keys();
    const steadyBytes = Math.max(...engine.steady.values());
    const peakBytes = Math.max(steadyBytes, ...engine.peak.values());
    this.#seen.set(this.#key(engine, id), { steady: steadyBytes, peak: peakBytes });
    return {
      model: engine.model,
      signature: {
        specHash: engine.specHash,
        image: null,
        deviceClass: this.#classOf(id),
        tensorParallel: engine.share.tensorParallel,
      },
      steadyBytes,
      peakBytes,
      utilization: engine.share.utilization,
      kvCacheBytes: model.measured === 'cache' ? Math.ceil(steadyBytes / 2) : null,
      kvCacheTokens: null,
      startTime: now - engine.launchedAt,
      measuredAt: now + this.wallOffset,
      source: 'process',
    };
  }

  /** Where nobody can tell devices apart, an engine takes the first ones that it may use. */
  #places(launch: Launch, model: SimulatedModel | undefined): [string, Bytes][] {
    if (!launch.reservations.has(UNREAD)) return [...launch.reservations];
    const ids = model?.settings.deviceIds.slice(0, Math.max(1, launch.share.tensorParallel)) ?? [];
    return ids.map((id) => [id, this.#scenario.devices.find((device) => device.id === id)?.budgetBytes ?? 1]);
  }

  #key({ specHash, share }: Pick<Engine, 'specHash' | 'share'>, id: string): string {
    return `${specHash} ${this.#classOf(id)} ${share.tensorParallel}`;
  }

  #classOf(id: string): string {
    const device = this.#scenario.devices.find((candidate) => candidate.id === id);
    return device ? deviceSettings(device).deviceClass : 'none';
  }
}
