/** What goes wrong: each kind of fault, done to a world. One that finds nothing to break does nothing. */
import { SECOND, type Milliseconds } from '../../src/units.ts';
import type { Intent } from './scenario.ts';
import type { World } from './world.ts';

export function strike(world: World, intent: Intent): void {
  const { kernel, engines } = world;
  switch (intent.kind) {
    case 'start_fault':
      return engines.orderStart(intent.model, intent);
    case 'stop_fault':
      return engines.orderStop(intent.model, intent.fault, intent.lastsMs);
    case 'prepare_fault':
      return world.files.order(intent.model, intent);
    case 'stale': {
      const replica = kernel.state.replicas.get(kernel.state.models.get(intent.model)?.current ?? '');
      if (!replica) return;
      const ref = { id: replica.id, generation: replica.generation - 1 };
      kernel.step({ kind: 'replica.exited', replica: ref, detail: 'long ago', cause: 'crashed' });
      kernel.step({ kind: 'replica.stopped', replica: ref });
      return;
    }
    case 'killed':
      if (intent.changed !== undefined) world.changeWhileDown(intent.changed);
      return world.restart(intent);
    case 'restarted':
      return restarted(world, intent.keep);
    default:
      strikeEngines(world, intent);
      strikeDevices(world, intent);
      strikeMachine(world, intent);
  }
}

function strikeEngines({ engines, kernel }: World, intent: Intent): void {
  switch (intent.kind) {
    case 'crash':
      for (const engine of engines.of(intent.model).slice(0, 1)) engines.crash(engine, 'crashed', intent.unsaid);
      return;
    case 'orphaned':
      for (const engine of engines.of(intent.model).slice(0, 1)) {
        engines.orderStop(intent.model, 'late', intent.lastsMs);
        engines.crash(engine);
      }
      return;
    case 'hang':
      for (const engine of engines.of(intent.model)) engine.hungSince = Math.min(engine.hungSince, kernel.now);
      return;
    case 'sick':
      for (const engine of engines.of(intent.model)) engine.sick = true;
      return;
    case 'flaps':
      for (const engine of engines.of(intent.model)) {
        engine.sick = true;
        kernel.after(intent.lastsMs, () => (engine.sick = false));
      }
      return;
    case 'slow_health':
      for (const engine of engines.of(intent.model)) engine.slowHealth = true;
      return;
    default:
  }
}

function strikeDevices(world: World, intent: Intent): void {
  const { kernel, engines, monitor } = world;
  switch (intent.kind) {
    case 'foreign':
      return world.foreign(intent.device, intent.share);
    case 'tenant':
      return tenant(world, intent.device, intent.share, intent.everyMs);
    case 'silent':
      world.history.mark('silent');
      return monitor.silence(intent.device, intent.lastsMs);
    case 'misread':
      return monitor.misread(intent.device, intent.how, intent.lastsMs);
    case 'device_dies': {
      const id = intent.device;
      // Who reads devices learns of it first, or of its engines.
      kernel.after(0, () => monitor.silence(id, intent.lastsMs));
      for (const engine of engines.living()) if (engine.reservations.has(id)) engines.crash(engine);
      return;
    }
    default:
  }
}

function strikeMachine(world: World, intent: Intent): void {
  const { kernel } = world;
  switch (intent.kind) {
    case 'suspended':
      world.history.mark('suspended');
      return kernel.suspend(intent.lastsMs);
    case 'frozen':
      world.history.mark('frozen');
      return kernel.freeze(intent.lastsMs);
    case 'wall_jump':
      world.history.mark(intent.byMs < 0 ? 'clock.set_back' : 'clock.set_on');
      world.engines.truths.wallOffset += intent.byMs;
      return;
    case 'disk_full':
      world.history.mark('disk.full');
      world.diskFull = true;
      return kernel.after(intent.lastsMs, () => (world.diskFull = false));
    default:
  }
}

/** Three steps up and three down. */
function tenant(world: World, device: string, share: number, everyMs: Milliseconds): void {
  [1, 2, 3, 2, 1, 0].forEach((steps, index) => {
    world.kernel.after(index * everyMs, () => {
      if (world.engines.faults) world.foreign(device, (share * steps) / 3);
    });
  });
}

/** SIGTERM; the next one begins when this one has ended, which whoever asked for it waits for only so long. */
function restarted(world: World, keep: boolean): void {
  const { kernel } = world;
  const { life } = kernel;
  const deadline = kernel.now + 20 * SECOND;
  kernel.step({ kind: 'shutdown.begun', keep: keep ? ['simulated'] : [], deadline });
  const last = deadline + 60 * SECOND;
  const look = (): void => {
    if (kernel.life !== life || !world.engines.faults) return;
    if (world.shutdownDone || kernel.now >= last) world.restart({ adoptable: true });
    else kernel.after(SECOND / 2, look);
  };
  kernel.after(SECOND / 2, look);
}
