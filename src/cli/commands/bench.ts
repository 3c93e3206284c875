/** `bench`: what the gateway costs on this machine, beside a plain relay, and what the numbers mean. */
import type { BenchReport, TargetReport } from '../../bench/report.ts';
import { plain, renderTable } from '../table.ts';
import { plural } from '../words.ts';
import { CliError, EXIT } from '../world.ts';
import type { OutputStream, SignalName, World } from '../world.ts';

export interface BenchFlags {
  readonly json?: boolean;
}

const SIGNAL_EXITS: Readonly<Record<SignalName, number>> = {
  SIGINT: EXIT.interrupted,
  SIGTERM: EXIT.terminated,
  SIGHUP: EXIT.hangup,
};

export async function bench(world: World, flags: BenchFlags): Promise<number> {
  const { out, err } = world;
  const stopped = new AbortController();
  let exit: number | undefined;
  const listening = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((name) =>
    world.onSignal(name, () => {
      exit ??= SIGNAL_EXITS[name];
      stopped.abort();
    }),
  );
  const note = (text: string): void => void err.write(`${err.style('dim', `${text} …`)}\n`);
  try {
    const report = await world.measure(note, stopped.signal);
    out.write(flags.json ? `${JSON.stringify(asJson(report))}\n` : renderBench(report, out));
    return report.faults === 0 ? EXIT.done : EXIT.problem;
  } catch (error) {
    if (exit !== undefined) return exit;
    const why = error instanceof Error ? error.message.replace(/\.$/, '') : String(error);
    throw new CliError(`Nothing was measured: ${why}.`, {
      hint: '`vllm-gateway demo` shows whether simulated engines start here.',
    });
  } finally {
    for (const one of listening) one[Symbol.dispose]();
  }
}

/** Names as in every other answer: snake_case with units. */
function asJson({ engine, relay, gateway, ...run }: BenchReport): object {
  const target = (report: TargetReport): object => ({
    requests_per_s: round(report.requestsPerSecond),
    p50_ms: round(report.p50Ms),
    p99_ms: round(report.p99Ms),
    added_p50_ms: round(report.addedP50Ms),
    added_p99_ms: round(report.addedP99Ms),
    cpu_ms_per_request: round(report.cpuMsPerRequest),
    stream_events_per_s: round(report.streamEventsPerSecond),
    cpu_ms_per_1000_events: round(report.cpuMsPerThousandEvents),
  });
  return {
    ...{ concurrency: run.concurrency, streams: run.streams, faults: run.faults, took_s: round(run.seconds) },
    targets: { engine: target(engine), relay: target(relay), gateway: target(gateway) },
  };
}

const round = (value: number | null): number | null => (value === null ? null : Math.round(value * 1_000) / 1_000);

export function renderBench(report: BenchReport, out: OutputStream): string {
  const { engine, relay, gateway } = report;
  const heads = [
    '',
    'REQUESTS/S',
    'P50',
    'P99',
    'ADDED P50',
    'ADDED P99',
    'CPU/REQUEST',
    'EVENTS/S',
    'CPU/1000 EVENTS',
  ];
  const row = (name: string, target: TargetReport) =>
    [
      name,
      count(target.requestsPerSecond),
      time(target.p50Ms),
      time(target.p99Ms),
      time(target.addedP50Ms),
      time(target.addedP99Ms),
      time(target.cpuMsPerRequest),
      count(target.streamEventsPerSecond),
      time(target.cpuMsPerThousandEvents),
    ].map(plain);
  const table = renderTable(
    heads.map((text) => ({ text, shown: out.style('dim', text) })),
    [row('engine alone', engine), row('plain node:http relay', relay), row('vLLM Gateway', gateway)],
  );
  return `\n${table}\n\n${meaning(report).join('\n')}\n`;
}

const time = (ms: number | null): string =>
  // Less than the engine alone took: the difference drowns in what the machine does besides.
  ms === null ? '' : ms < 0 ? '≈ 0' : ms < 1 ? `${Math.round(ms * 1_000)} µs` : `${ms.toFixed(2)} ms`;
const count = (value: number): string => String(Math.round(value));

function meaning({ concurrency, streams, faults, seconds, relay, gateway }: BenchReport): readonly string[] {
  const lines = [
    `Requests per second: ${concurrency} plain requests at a time; added: one at a time, against the engine alone; events: ${streams} streams at a time.`,
    `The gateway adds ${time(gateway.addedP50Ms)} to an answer, a relay that knows nothing ${time(relay.addedP50Ms)}. An engine with a real model takes seconds for one.`,
  ];
  if (gateway.cpuMsPerRequest !== null && gateway.cpuMsPerRequest > 0) {
    const most = Math.round(1_000 / gateway.cpuMsPerRequest);
    const beside = ratio(gateway.cpuMsPerRequest, relay.cpuMsPerRequest);
    lines.push(
      `One core carries about ${most} such requests per second${beside}; more than that queues in the gateway itself.`,
    );
  }
  if (gateway.cpuMsPerThousandEvents !== null && gateway.cpuMsPerThousandEvents > 0) {
    const most = Math.round((1_000 / gateway.cpuMsPerThousandEvents) * 1_000);
    const beside = ratio(gateway.cpuMsPerThousandEvents, relay.cpuMsPerThousandEvents);
    lines.push(
      `It carries about ${most} events (tokens) per second${beside}: ${Math.round(most / 50)} streams of 50 tokens per second.`,
    );
  }
  lines.push(
    `The engine is simulated and shares this machine, so its speed bounds requests and events per second; compare rows, not machines. ${seconds.toFixed(1)} s in all.`,
  );
  if (faults > 0)
    lines.push(`${plural(faults, 'answer')} did not come whole: something here disturbs connections on loopback.`);
  return lines;
}

/** How it stands to the relay, in words. */
function ratio(own: number, other: number | null): string {
  if (other === null || other <= 0) return '';
  return ` (${(own / other).toFixed(2)} × the CPU time of the relay)`;
}
