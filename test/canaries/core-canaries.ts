/** Bugs in what the core decides: counting, queues, leases, starts, memory, turns, adoption, the end. */
import type { Canary } from './canary.ts';

const core = (canary: Omit<Canary, 'world'>): Canary => ({ ...canary, world: 'core' });

const ADMISSION: readonly Canary[] = [
  core({
    name: 'lease-counted-when-it-ends-twice',
    breaks: 'A lease whose end is told twice is counted twice: the books of requests no longer add up.',
    file: 'src/core/admission/lease.ts',
    find: '  const lease = run.state.leases.get(id);\n  if (!lease) return;\n  const model = run.state.models.get(lease.ticket.model);\n  if (model && outcome',
    replace:
      '  const lease = run.state.leases.get(id);\n  run.state.counters.released += lease ? 0 : 1;\n  if (!lease) return;\n  const model = run.state.models.get(lease.ticket.model);\n  if (model && outcome',
  }),
  core({
    name: 'abandoned-counted-before-it-is-looked-up',
    breaks: 'A client that leaves when its request is no longer waiting is counted as having left the queue.',
    file: 'src/core/admission/admit.ts',
    find: '  const ticket = run.state.tickets.get(id);\n  if (!ticket) return;',
    replace:
      '  const ticket = run.state.tickets.get(id);\n  run.state.counters.abandoned += ticket ? 0 : 1;\n  if (!ticket) return;',
  }),
  core({
    name: 'queue-of-the-last-waiter-stays',
    breaks: 'When the last client in line leaves, its model stays in the line for memory and evicts others for nobody.',
    file: 'src/core/admission/admit.ts',
    find: '  run.state.counters.abandoned += 1;\n  considerAbandoned(run, model);',
    replace: '  run.state.counters.abandoned += 1;',
  }),
  core({
    name: 'grant-to-a-replica-not-yet-ready',
    breaks: 'Waiting requests are handed to an engine that still starts or is already leaving.',
    file: 'src/core/run.ts',
    find: `return replica?.phase === 'ready' ? replica : undefined;`,
    replace: `return replica?.phase === 'ready' || replica?.phase === 'starting' ? replica : undefined;`,
  }),
  core({
    name: 'slots-off-by-one',
    breaks: 'An engine gets one request more than it may work on.',
    file: 'src/core/admission/dispatch.ts',
    find: 'return replica.leases.size < model.settings.maxConcurrent;',
    replace: 'return replica.leases.size <= model.settings.maxConcurrent;',
  }),
  core({
    name: 'free-slot-goes-unnoticed',
    breaks: 'A slot that became free is given to nobody although requests wait.',
    file: 'src/core/admission/lease.ts',
    find: '    model.lastUsedAt = now;\n    syncGrantable(run, model);\n  }\n  dispatch(run);',
    replace: '    model.lastUsedAt = now;\n  }\n  dispatch(run);',
  }),
  core({
    name: 'same-model-always-first',
    breaks: 'When leases are short, one model takes all of them and its neighbours starve.',
    file: 'src/core/admission/dispatch.ts',
    find: '    state.grantable.rotate();\n',
    replace: '',
  }),
  core({
    name: 'same-key-always-first',
    breaks: 'One API key with many requests keeps all others of its model waiting.',
    file: 'src/core/admission/queue.ts',
    find: '    this.#turns.rotate();\n',
    replace: '',
  }),
  core({
    name: 'patience-outlives-the-wait',
    breaks: 'The time-out of an impatient client stays armed after its request was granted.',
    file: 'src/core/admission/dispatch.ts',
    find: '  if (ticket.patienceUntil !== null) run.state.deadlines.delete(`patience:${ticket.id}`);\n',
    replace: '',
  }),
  core({
    name: 'returned-for-ever',
    breaks: 'A request whose engine dies goes back into the queue again and again instead of once.',
    file: 'src/core/admission/lease.ts',
    find: 'if (!model || ticket.returned || run.state.shutdown) {',
    replace: 'if (!model || run.state.shutdown) {',
  }),
  core({
    name: 'retry-without-budget',
    breaks: 'Every failed connection is tried again, however many fail: an outage multiplies the load.',
    file: 'src/core/admission/retry-budget.ts',
    find: '  if (!shared && !floor && !alone) return false;\n',
    replace: '',
  }),
  core({
    name: 'retry-of-a-cut-lease',
    breaks: 'A request that was told to end is tried once more.',
    file: 'src/core/admission/lease.ts',
    find: '    !lease.cut &&\n',
    replace: '',
  }),
];

const STARTS: readonly Canary[] = [
  core({
    name: 'rest-after-failures-ignored',
    breaks: 'A model whose start fails is started again at once, for ever, and evicts its neighbours each time.',
    file: 'src/core/lifecycle/scaling.ts',
    find: '  if (isBackingOff(model, now)) return;\n',
    replace: '',
  }),
  core({
    name: 'ready-believed-of-one-that-stops',
    breaks: 'An engine that is being stopped becomes ready again when its late answer arrives.',
    file: 'src/core/lifecycle/start.ts',
    find: `if (replica.phase !== 'starting' || !model || model.current !== replica.id || replica.endpoint === null) return;`,
    replace: `if (replica.phase === 'ready' || !model || replica.endpoint === null) return;`,
  }),
  core({
    name: 'progress-does-not-count',
    breaks: 'A slow start that shows progress is ended as if it hung.',
    file: 'src/core/lifecycle/start.ts',
    find: '  if (model) run.state.deadlines.set(`stall:${replica.id}`, run.now + model.settings.startStallTimeout);\n',
    replace: '',
  }),
  core({
    name: 'stale-result-accepted',
    breaks: 'A late word about an earlier replica ends the present one of the same name.',
    file: 'src/core/run.ts',
    find: 'if (replica && replica.generation === ref.generation) return replica;',
    replace: 'if (replica && replica.generation >= ref.generation) return replica;',
  }),
  core({
    name: 'forgotten-by-name',
    breaks: 'The end of an old replica takes its model the new one away.',
    file: 'src/core/lifecycle/stop.ts',
    find: 'if (!model || model.current !== replica.id) return;\n  model.current = null;',
    replace: 'if (!model) return;\n  model.current = null;',
  }),
  core({
    name: 'waiters-of-a-failed-start-stay',
    breaks: 'A start fails and those who waited for it are not told: they wait for the next attempt, and the next.',
    file: 'src/core/lifecycle/failure.ts',
    find: '  refuseAll(run, model, startFailedError(run, model));\n',
    replace: '',
  }),
  core({
    name: 'port-never-given-back',
    breaks: 'Ports of engines that ended stay taken until none is left.',
    file: 'src/core/lifecycle/stop.ts',
    find: '  if (replica.port !== null) state.ports.delete(replica.port);\n',
    replace: '',
  }),
  core({
    name: 'launched-before-its-files-are-there',
    breaks: 'An engine is started, and others are evicted for it, while its weights are still downloaded.',
    file: 'src/core/lifecycle/scaling.ts',
    find: '  if (!model.prepared) {',
    replace: '  if (!model.prepared && !model.preparation) {',
  }),
  core({
    name: 'lost-exit-never-noticed',
    breaks: 'An engine that died without a word stays ready for ever: its health is looked at and nothing follows.',
    file: 'src/core/lifecycle/liveness.ts',
    find: 'health.refusedInRow += 1;',
    replace: 'health.refusedInRow = 1;',
  }),
  core({
    name: 'hang-passes-for-work',
    breaks: 'An engine that hangs with requests in hand counts as busy for ever.',
    file: 'src/core/lifecycle/liveness.ts',
    find: 'else health.quietSince ??= run.now;',
    replace: 'else health.quietSince = run.now;',
  }),
  core({
    name: 'idle-since-the-request-began',
    breaks: 'The idle clock runs from the beginning of a request: an engine leaves right after a long answer.',
    file: 'src/core/lifecycle/idle.ts',
    find: '  replica.idleSince = run.now;\n',
    replace: '',
  }),
];

const MEMORY: readonly Canary[] = [
  core({
    name: 'reservation-counted-after-launch',
    breaks: 'What is promised to a start that has not begun is promised to a second one too.',
    file: 'src/core/memory/ledger.ts',
    find: '  if (isLeaving(replica)) return;\n',
    replace: `  if (isLeaving(replica) || replica.phase === 'reserved') return;\n`,
  }),
  core({
    name: 'peak-of-a-start-forgotten',
    breaks: 'A start is let in beside others as if it never took more than in the end.',
    file: 'src/core/memory/ledger.ts',
    find: 'if (held(state, deviceId) + peakOn(replica, deviceId) > capacity(device)) return false;',
    replace: 'if (held(state, deviceId) + steadyOn(replica, deviceId) > capacity(device)) return false;',
  }),
  core({
    name: 'memory-of-others-forgotten',
    breaks: 'Processes outside the gateway are not seen: starts are planned into memory that they hold.',
    file: 'src/core/memory/ledger.ts',
    find: 'return Math.max(0, Math.min(device.budgetBytes, device.totalBytes - device.foreignBytes));',
    replace: 'return Math.max(0, Math.min(device.budgetBytes, device.totalBytes));',
  }),
  core({
    name: 'stop-passes-the-gate',
    breaks: 'An engine gives memory back while its neighbour measures what is free.',
    file: 'src/core/lifecycle/start-gate.ts',
    find: "const isInTheWay = (other: Replica): boolean => operation === 'start' || !letsStopsPass(state, other);",
    replace: "const isInTheWay = (other: Replica): boolean => operation === 'start' && !letsStopsPass(state, other);",
  }),
  core({
    name: 'gate-of-the-first-device-only',
    breaks: 'A start over several devices begins although another one measures on one of them.',
    file: 'src/core/lifecycle/start-gate.ts',
    find: '  for (const { gateHolder } of devicesOf(state, replica)) {',
    replace: '  for (const { gateHolder } of [...devicesOf(state, replica)].slice(0, 1)) {',
  }),
  core({
    name: 'starts-disturbed-in-silence',
    breaks: 'A start that measured beside a neighbour on its way out is believed.',
    file: 'src/core/lifecycle/stop.ts',
    find: `if (isMeasuring(other) && other.milestone === 'loading') disturb(run, other, replica.id);`,
    replace: `if (isMeasuring(other) && other.milestone === 'profiled') disturb(run, other, replica.id);`,
  }),
  core({
    name: 'stuck-memory-forgiven',
    breaks: 'A device whose memory an engine does not give back takes the next start.',
    file: 'src/core/memory/ledger.ts',
    find: 'return device.quarantine === null && !isSilent(device);',
    replace: 'return !isSilent(device);',
  }),
  core({
    name: 'starts-on-a-silent-device',
    breaks: 'An engine is started on a GPU that cannot be read.',
    file: 'src/core/memory/ledger.ts',
    find: 'return device.quarantine === null && !isSilent(device);',
    replace: 'return device.quarantine === null;',
  }),
  core({
    name: 'footprint-of-another-configuration',
    breaks: 'What was measured under an older configuration is promised to the new one.',
    file: 'src/core/memory/need.ts',
    find: 'if (specHash === model.settings.specHash && sameImage(image)) return footprint;',
    replace: 'if (sameImage(image)) return footprint;',
  }),
  core({
    name: 'reading-of-nothing-believed',
    breaks: 'A reading of zero bytes becomes what the engine takes.',
    file: 'src/core/lifecycle/learn.ts',
    find: '([id, bytes]) => bytes > 0 && (before.has(id)',
    replace: '([id]) => (before.has(id)',
  }),
];

const TURNS: readonly Canary[] = [
  core({
    name: 'busy-one-evicted',
    breaks: 'An engine in the middle of answers is taken for idle and has to leave.',
    file: 'src/core/memory/eviction.ts',
    find: `if (replica.phase !== 'ready' || replica.leases.size > 0) return false;`,
    replace: `if (replica.phase !== 'ready') return false;`,
  }),
  core({
    name: 'pinned-one-evicted',
    breaks: 'A pinned model has to leave for another.',
    file: 'src/core/memory/eviction.ts',
    find: 'return model !== undefined && !isPinned(model) && model.queue.size === 0;',
    replace: 'return model !== undefined && model.queue.size === 0;',
  }),
  core({
    name: 'fenced-within-its-turn',
    breaks: 'Two hot models push each other out before either has had its turn.',
    file: 'src/core/lifecycle/turns-rule.ts',
    find: 'return now < turnEndsAt(state, replica);',
    replace: 'return now < (replica.readyAt ?? replica.createdAt) && now < turnEndsAt(state, replica);',
  }),
  core({
    name: 'fence-forgotten',
    breaks: 'An engine that has to leave stays the one that its model points to: whoever comes next waits for it.',
    file: 'src/core/lifecycle/stop.ts',
    find: '  detach(run, replica);\n  run.capacityChanged = true;\n  if (replica.leases.size === 0) {',
    replace: '  run.capacityChanged = true;\n  if (replica.leases.size === 0) {',
  }),
  core({
    name: 'drain-without-end',
    breaks: 'An engine that has to leave waits for its longest request without any limit.',
    file: 'src/core/lifecycle/stop.ts',
    find: '  run.state.deadlines.set(`drain:${replica.id}`, run.now + run.state.settings.limits.drainTimeout);\n',
    replace: '',
  }),
  core({
    name: 'longer-waiting-one-passed',
    breaks: 'Small models slip past a large one that has waited longer, for ever.',
    file: 'src/core/lifecycle/scaling.ts',
    find: 'if (ahead && !wouldStillFit(run.state, ahead, reservations, books)) return false;',
    replace: 'if (ahead && !wouldStillFit(run.state, ahead, reservations, books)) return true;',
  }),
];

const LIVES: readonly Canary[] = [
  core({
    name: 'adopted-by-name',
    breaks: 'What an earlier run left is adopted although its configuration has changed.',
    file: 'src/core/lifecycle/adopt.ts',
    find: 'if (specHash !== seen.specHash || (seen.driver ?? driver) !== driver)',
    replace: 'if ((seen.driver ?? driver) !== driver)',
  }),
  core({
    name: 'adopted-without-its-key',
    breaks: 'An engine that does not hold our key, or does not answer, is adopted.',
    file: 'src/core/lifecycle/adopt.ts',
    find: '  if (seen.usable !== true) return seen.usable;\n',
    replace: '',
  }),
  core({
    name: 'started-while-adopting',
    breaks: 'A model is started a second time while the gateway still looks for what runs already.',
    file: 'src/core/lifecycle/scaling.ts',
    find: 'if (model.current !== null || state.shutdown || state.adopting) return;',
    replace: 'if (model.current !== null || state.shutdown) return;',
  }),
  core({
    name: 'old-configuration-serves-on',
    breaks: 'After a reload the engine with the old configuration goes on answering.',
    file: 'src/core/lifecycle/commands.ts',
    find: `  if (changed) unload(run, model, 'reload');\n`,
    replace: '',
  }),
  core({
    name: 'waiters-of-a-removed-model-stay',
    breaks: 'Requests that wait for a model which the new configuration no longer has are forgotten.',
    file: 'src/core/lifecycle/commands.ts',
    find: '  refuseAll(\n    run,\n    model,\n    gatewayError(',
    replace: '  [].forEach.call(\n    [run],\n    () => model,\n    gatewayError(',
  }),
  core({
    name: 'queue-forgotten-at-the-end',
    breaks: 'Requests that still wait when the time of a shutdown is over never hear of it.',
    file: 'src/core/lifecycle/shutdown.ts',
    find: '  for (const model of run.state.models.values()) refuseAll(run, model, GOODBYE);\n',
    replace: '',
  }),
  core({
    name: 'started-during-shutdown',
    breaks: 'A shutdown lets go of memory, and the next model is started into it.',
    file: 'src/core/lifecycle/shutdown.ts',
    find: `    if (current?.phase === 'reserved') withdraw(run, current, 'The gateway is shutting down.');\n`,
    replace: '',
  }),
  core({
    name: 'deadline-out-of-order',
    breaks: 'A deadline that was dropped leaves the others in the wrong order: time-outs come late.',
    file: 'src/core/deadlines.ts',
    find: 'this.#settle(last, entry.index);',
    replace: 'this.#sink(last, entry.index);',
  }),
];

export const CORE_CANARIES: readonly Canary[] = [...ADMISSION, ...STARTS, ...MEMORY, ...TURNS, ...LIVES];
