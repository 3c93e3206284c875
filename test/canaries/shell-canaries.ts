/** Bugs in what the shell does: the gate, the path of a request, connections, bodies, starts, stops, adoption. */
import type { Canary } from './canary.ts';

const shell = (canary: Omit<Canary, 'world'>): Canary => ({ ...canary, world: 'shell' });

const GATE: readonly Canary[] = [
  shell({
    name: 'own-answer-told-twice',
    breaks: 'Whoever is granted at once is granted a second time: the request runs twice.',
    file: 'src/controller/lease-desk.ts',
    find: `      effect.kind === 'ticket.granted' ||\n      effect.kind === 'ticket.refused' ||`,
    replace: `      effect.kind === 'ticket.refused' ||`,
  }),
  shell({
    name: 'timer-stays-where-it-was',
    breaks: 'A deadline that is nearer than the one before does not move the timer: it comes late.',
    file: 'src/controller/controller.ts',
    find: 'if (at === (this.#timer?.at ?? null) || this.#closed) return;',
    replace: 'if (this.#timer !== null || this.#closed) return;',
  }),
  shell({
    name: 'abort-of-a-waiter-forgotten',
    breaks: 'A client that goes away while it waits stays in the queue.',
    file: 'src/proxy/exchange.ts',
    find: '    this.ticket?.abandon();\n',
    replace: '',
  }),
  shell({
    name: 'cut-goes-unheard',
    breaks: 'A request that outlives its drain is told to end, and goes on.',
    file: 'src/proxy/exchange.ts',
    find: '  cut(error: GatewayError): void {\n    this.safely(() => this.fail(error));',
    replace: '  cut(error: GatewayError): void {\n    this.safely(() => void error);',
  }),
  shell({
    name: 'dead-engine-passes-for-alive',
    breaks: 'A request whose engine has died is answered with an error instead of going back to the queue.',
    file: 'src/controller/lease-desk.ts',
    find: 'return !this.#ended && this.#desk.isAlive({ id: this.replicaId, generation: this.generation });',
    replace: 'return !this.#ended;',
  }),
  shell({
    name: 'refusal-after-the-head',
    breaks: 'A stream is begun before it is known whether the request is admitted: 429 arrives as an event of a 200.',
    file: 'src/proxy/exchange.ts',
    find: '      this.heartbeats = new Heartbeats(dialect, model.keepalive, this.now);\n',
    replace:
      '      this.heartbeats = new Heartbeats(dialect, model.keepalive, this.now);\n      this.beat(this.now + model.keepalive.after, this.heartbeats);\n',
  }),
  shell({
    name: 'retry-whatever-the-budget-says',
    breaks: 'The budget of retries says no, and the request is tried again.',
    file: 'src/controller/lease-desk.ts',
    find: `effect.kind === 'retry.answered' && effect.granted);`,
    replace: `effect.kind === 'retry.answered');`,
  }),
];

const RELAY: readonly Canary[] = [
  shell({
    name: 'lease-ends-with-the-head',
    breaks: 'The slot of an engine is free as soon as its answer begins: it gets more requests than it has slots.',
    file: 'src/proxy/forward.ts',
    find: '    const head = readHead(status, fields);\n    this.lease.touch();\n',
    replace: `    const head = readHead(status, fields);\n    this.lease.release('completed');\n`,
  }),
  shell({
    name: 'lease-ends-before-the-engine-does',
    breaks: 'A client leaves and the slot is free at once, while the engine still works for it.',
    file: 'src/proxy/forward.ts',
    find: '    else call.cancel(() => lease.release(outcome));',
    replace: '    else lease.release(outcome);',
  }),
  shell({
    name: 'retry-after-the-first-byte',
    breaks: 'A request is sent again although its engine had begun to answer.',
    file: 'src/proxy/forward.ts',
    find: 'failure.reused && !failure.answered && !this.replayed) {',
    replace: 'failure.reused && !this.replayed) {',
  }),
  shell({
    name: 'retry-of-what-was-sent',
    breaks: 'A request that an engine had in full is sent to it once more when the connection breaks.',
    file: 'src/proxy/forward.ts',
    find: `    } else if (failure.kind === 'unreachable') {`,
    replace: `    } else if (failure.kind === 'unreachable' || failure.kind === 'lost') {`,
  }),
  shell({
    name: 'half-an-answer-looks-whole',
    breaks: 'An engine dies in the middle of a JSON answer, and the client sees a proper end.',
    file: 'src/proxy/exchange.ts',
    find: '    } else {\n      this.writer.destroy();\n    }\n    this.close(error);',
    replace: '    } else {\n      this.writer.end();\n    }\n    this.close(error);',
  }),
  shell({
    name: 'cancellation-counted-as-failure',
    breaks: 'Clients that go away are counted as failures of the engine.',
    file: 'src/proxy/exchange.ts',
    find: `    this.end('client_closed', '');`,
    replace: `    this.end('upstream_failed', '');`,
  }),
  shell({
    name: 'drained-client-stays-paused',
    breaks: 'A client that was slow once gets nothing more.',
    file: 'src/proxy/exchange.ts',
    find: '    this.lastMovedAt = this.now;\n    this.forward?.resume();\n',
    replace: '    this.lastMovedAt = this.now;\n',
  }),
  shell({
    name: 'back-pressure-ignored',
    breaks: 'An engine is read as fast as it writes, and the gateway keeps what a slow client does not take.',
    file: 'src/proxy/forward.ts',
    find: '    return !this.paused;',
    replace: '    return true;',
  }),
  shell({
    name: 'ended-exchange-ticks-on',
    breaks: 'The clock of an exchange goes on after its end: it is told of time-outs, and never forgotten.',
    file: 'src/proxy/exchange.ts',
    find: '    this.world.ticker.delete(this.place);\n',
    replace: '',
  }),
];

const CONNECTIONS: readonly Canary[] = [
  shell({
    name: 'paused-socket-back-in-the-pool',
    breaks: 'A connection that a slow client had paused is used again and never read.',
    file: 'src/proxy/engine-connection.ts',
    find: '    this.socket.resume();\n    this.options.freed(this);',
    replace: '    this.options.freed(this);',
  }),
  shell({
    name: 'cancelled-socket-back-in-the-pool',
    breaks: 'The rest of an answer that nobody wants any more is read as the answer to the next request.',
    file: 'src/proxy/engine-connection.ts',
    find: `    this.socket.once('close', closed);\n    this.socket.destroy();`,
    replace: '    closed();\n    this.options.freed(this);',
  }),
  shell({
    name: 'closing-socket-back-in-the-pool',
    breaks: 'A connection that its engine said it would close is used for the next request.',
    file: 'src/proxy/engine-connection.ts',
    find: 'const again = reusable && !this.ended',
    replace: 'const again = !this.ended',
  }),
  shell({
    name: 'idle-limit-forgotten',
    breaks: 'Idle connections to engines are kept for ever.',
    file: 'src/proxy/engine-connection.ts',
    find: '    if (this.idleTimer === null && !this.ended) this.watchIdle(this.idleLimit);\n',
    replace: '',
  }),
  shell({
    name: 'gone-connection-keeps-its-place',
    breaks: 'Connections that broke still count: after some time no engine can be reached.',
    file: 'src/proxy/upstreams.ts',
    find: '    this.all.delete(connection);\n',
    replace: '',
  }),
  shell({
    name: 'body-budget-not-given-back',
    breaks: 'Bodies of requests that end without an answer stay charged until all new ones are refused.',
    file: 'src/proxy/exchange.ts',
    find: '    this.intake.stop();\n    this.intake.discharge();\n',
    replace: '    this.intake.stop();\n',
  }),
  shell({
    name: 'body-budget-given-back-twice',
    breaks: 'Bodies are given back twice, and more of them are held than may be.',
    file: 'src/proxy/intake.ts',
    find: '    this.charged = 0;\n',
    replace: '',
  }),
];

const ENGINES: readonly Canary[] = [
  shell({
    name: 'ready-without-a-look-at-the-name',
    breaks: 'Whatever answers on the port of a start is taken for its engine.',
    file: 'src/controller/readiness.ts',
    find: `return lists(models.body, question.servedName)\n      ? { kind: 'ready' }`,
    replace: `return lists(models.body, question.servedName) || models.status === 200\n      ? { kind: 'ready' }`,
  }),
  shell({
    name: 'start-begins-while-others-are-looked-for',
    breaks: 'The first request starts a second engine beside the one that an earlier run left.',
    file: 'src/controller/reconcile.ts',
    find: `  await tell(\n    context,\n    lists.flatMap((list) => list ?? []),\n  );`,
    replace: `  void tell(\n    context,\n    lists.flatMap((list) => list ?? []),\n  );`,
  }),
  shell({
    name: 'exit-of-an-engine-unheard',
    breaks: 'Engines that end by themselves are noticed only when their health is looked at.',
    file: 'src/controller/perform.ts',
    find: 'driver.watch((exit) => void this.#exited(exit)));',
    replace: 'driver.watch(() => undefined));',
  }),
  shell({
    name: 'start-watched-after-its-end',
    breaks: 'The question whether an engine is ready is asked on after its start was given up.',
    file: 'src/controller/perform.ts',
    find: '    this.#starts.get(replicaId)?.abort();\n',
    replace: '',
  }),
];

export const SHELL_CANARIES: readonly Canary[] = [...GATE, ...RELAY, ...CONNECTIONS, ...ENGINES];
