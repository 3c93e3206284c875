/**
 * What a long run must have met at least once, or it proves little: every mark with what it means. Most are counted by the
 * history as they are told; those below are seen here.
 */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import type { Model } from '../../src/core/state.ts';
import type { Kernel, Observer } from './kernel.ts';

export const MARKS: Readonly<Record<string, string>> = {
  'abandoned.during_start': 'a client went away while the engine it waited for was starting',
  'abandoned.last_waiter': 'the last client that waited for a start went away',
  'adoption.key_refused': 'an engine was found that does not hold our key',
  'adoption.spec_refused': 'an engine was found that runs another configuration than is wanted now',
  'clock.set_back': 'the wall clock was set back',
  'clock.set_on': 'the wall clock was set on',
  'cut:drain_timeout': 'a drain was over before its requests were',
  'cut:shutting_down': 'the time of a shutdown was over before its requests were',
  'cut:upstream_timeout': 'requests of an engine that hangs were ended',
  'device.overrun': 'an engine was seen to take more than its device has to give',
  'device.seen': 'a device was read again',
  'device.silent': 'a device could not be read',
  'device.silent_blocks_start': 'a model waited because the devices it needs could not be read',
  'disk.full': 'what was learned or pinned could not be written',
  'end:abandoned': 'a waiting client went away',
  'end:client_closed': 'a client went away while it was answered',
  'end:completed': 'a request was answered to its end',
  'end:deadline': 'a request was ended by the gateway',
  'end:gateway_died': 'the gateway died with requests in hand',
  'end:model_backing_off': 'a request came while its model rested after failures',
  'end:model_not_found': 'a request came for a model that a reload had taken away',
  'end:model_start_failed': 'a request waited for a start that failed',
  'end:no_capacity': 'there was no memory for a request',
  'end:queue_full': 'a queue was full',
  'end:queue_timeout': 'a request waited too long',
  'end:shutting_down': 'a request met a shutdown',
  'end:upstream_failed': 'an engine broke off in the middle of an answer',
  'end:upstream_lost': 'a request lost its engine twice',
  'evicted.for_waiting': 'a model was evicted while requests waited for the newcomer',
  'footprint.doubted': 'what had been seen of an engine was no longer believed',
  frozen: 'the gateway stood still while the world went on',
  'gate.three_in_line': 'three starts and stops waited for one another',
  'gateway.draining': 'a shutdown began',
  'grant.after_return': 'a request that had lost its engine was given another one',
  'group.partial_fit_waits': 'a model waited for several devices while one of them had room',
  killed: 'the gateway was killed and started anew',
  'killed.between_reserve_and_start': 'it was killed between the promise of memory and the start',
  'killed.during_start': 'it was killed while an engine was starting',
  'model.pinned': 'a model was pinned',
  'model.prepare_cancelled': 'files were fetched for somebody who went away',
  'model.prepare_failed': 'files could not be fetched, or stalled',
  'model.prepared': 'files were fetched',
  'model.resized': 'a start that lacked memory was planned larger',
  'model.restored': 'who had been evicted for a start that failed came back',
  'passed.nobody': 'a model that would fit waited for one that had waited longer',
  'records.torn': 'what an earlier run had written down could not be read',
  'reload.device_lost': 'a reload took a device away',
  'reload.removed': 'a reload took a model away',
  'reload.removed_in_use': 'a reload took a model away that was answering',
  'reload.slots_shrunk_in_use': 'a reload left a model fewer slots than it had requests in hand',
  'reload.spec': 'a reload changed what a model runs',
  'replica.abandoned': 'a start that nobody waited for any more made room',
  'replica.adopted': 'an engine of an earlier run was ready to serve again',
  'replica.disturbed': 'memory moved beside an engine that measured it',
  'replica.evicted': 'an idle engine made room',
  'replica.fenced': 'a busy engine had had its turn',
  'replica.idle': 'an engine was idle for too long',
  'replica.measured': 'an engine was seen to take what it takes',
  'replica.not_adopted': 'an engine of an earlier run was ended',
  'replica.orphan_forgotten': 'an engine ran on that nobody knew of any more',
  'replica.stuck': 'an engine was not seen to be gone, and its devices were closed',
  'replica.withdrawn': 'a promise of memory was taken back before the start',
  'result.stale': 'a word came about a replica that was another one by then',
  'retry.budget_empty': 'a retry was refused',
  'retry.granted': 'a connection that failed was tried again',
  'shutdown.with_waiting': 'a shutdown began while requests waited',
  'slow.but_moving': 'an engine was slow to say that it is well, and was let go on because it worked',
  'start.beside_own_stop': 'a model was promised memory while its last engine was still leaving',
  'start.failed_then_ready': 'a model became ready after a start that had failed',
  'start.port_taken': 'a port was taken by a stranger',
  'stop:crashed': 'an engine died',
  'stop:reload': 'an engine was ended for its configuration',
  'stop:stalled': 'an engine that answered its health check did nothing, and was ended',
  'stop:unhealthy': 'an engine that did not answer its health check was ended',
  'stop:unload': 'an operator unloaded a model',
  suspended: 'the whole machine slept',
};

type Count = (name: string) => void;

export class Marks implements Observer {
  readonly #kernel: Kernel;
  readonly #count: Count;
  /** Models whose last start failed. */
  readonly #failed = new Set<string>();
  #staleBefore = 0;
  #phase: string | undefined;

  constructor(kernel: Kernel, count: Count) {
    this.#kernel = kernel;
    this.#count = count;
  }

  before(event: FleetEvent): void {
    const { state } = this.#kernel;
    this.#staleBefore = state.counters.staleResults;
    switch (event.kind) {
      case 'ticket.abandoned': {
        const model = state.models.get(state.tickets.get(event.id)?.model ?? '');
        this.#phase = model && state.replicas.get(model.current ?? '')?.phase;
        if (model && this.#phase === 'starting') {
          this.#count('abandoned.during_start');
          if (model.queue.size === 1) this.#count('abandoned.last_waiter');
        }
        return;
      }
      case 'settings.replaced':
        for (const model of state.models.values()) this.#reloaded(model, event);
        return;
      case 'shutdown.begun':
        if (state.tickets.size > 0) this.#count('shutdown.with_waiting');
        return;
      case 'replica.found':
        return this.#found(event);
      default:
    }
  }

  after(event: FleetEvent, effects: readonly FleetEffect[], quiet: boolean): void {
    if (quiet) return;
    const { state } = this.#kernel;
    if (state.counters.staleResults > this.#staleBefore) this.#count('result.stale');
    if (state.gateQueue.length >= 3) this.#count('gate.three_in_line');
    if (event.kind === 'replica.checked' && event.report.health === 'slow') {
      const moved = event.report.bytesMoved || event.report.countersMoved === true;
      if (moved && state.replicas.get(event.replica.id)?.phase === 'ready') this.#count('slow.but_moving');
    }
    if (event.kind === 'replica.start_failed' && event.cause === 'port_in_use') this.#count('start.port_taken');
    for (const effect of effects) if (effect.kind === 'decision') this.#decided(effect.decision);
  }

  /** Just before the gateway is killed. */
  killed(): void {
    for (const { phase } of this.#kernel.state.replicas.values()) {
      if (phase === 'reserved') this.#count('killed.between_reserve_and_start');
      if (phase === 'starting') this.#count('killed.during_start');
    }
  }

  #reloaded({ name, current }: Model, { settings }: Extract<FleetEvent, { kind: 'settings.replaced' }>): void {
    const leases = this.#kernel.state.replicas.get(current ?? '')?.leases.size ?? 0;
    if (leases === 0) return;
    const next = settings.models.get(name);
    if (!next) this.#count('reload.removed_in_use');
    else if (next.maxConcurrent < leases) this.#count('reload.slots_shrunk_in_use');
  }

  #found({ found }: Extract<FleetEvent, { kind: 'replica.found' }>): void {
    const wanted = this.#kernel.state.models.get(found.model)?.settings.specHash;
    if (found.usable !== true) this.#count('adoption.key_refused');
    else if (wanted !== undefined && wanted !== found.specHash) this.#count('adoption.spec_refused');
  }

  #decided({ kind, model: name, replica: id, detail }: Extract<FleetEffect, { kind: 'decision' }>['decision']): void {
    const { state } = this.#kernel;
    const model = state.models.get(name ?? '');
    switch (kind) {
      case 'replica.evicted':
        if ((state.models.get(String(detail?.['for']))?.queue.size ?? 0) > 0) this.#count('evicted.for_waiting');
        return;
      case 'replica.start_failed':
        if (name !== null) this.#failed.add(name);
        return;
      case 'replica.ready':
        if (state.replicas.get(id ?? '')?.adopted === true) this.#count('replica.adopted');
        if (name !== null && this.#failed.delete(name)) this.#count('start.failed_then_ready');
        return;
      case 'replica.reserved':
        for (const other of state.replicas.values()) {
          const leaving = other.phase === 'stopping' || other.phase === 'draining';
          if (leaving && other.model === name) this.#count('start.beside_own_stop');
        }
        return;
      case 'model.waiting':
        if (model) this.#waits(model);
        return;
      default:
    }
  }

  #waits({ waitingFor }: Model): void {
    const plan = waitingFor?.plan;
    if (plan?.kind === 'fits') this.#count('passed.nobody');
    if (plan?.kind !== 'wait') return;
    const { cause, devices, places } = plan.shortage;
    if (cause === 'unseen') this.#count('device.silent_blocks_start');
    if (devices > 1 && places.some(({ missingBytes }) => missingBytes <= 0)) this.#count('group.partial_fit_waits');
  }
}
