/** docs/metrics.md: names, kinds and labels are read from a scrape after every kind of event happened once. */
import { createMetrics, METRIC_PREFIX } from '../../src/telemetry/metrics.ts';
import { deviceSnapshot, fleetSnapshot, modelSnapshot, replicaSnapshot } from '../../test/support/fleet-snapshot.ts';
import { samplesOf } from '../../test/support/prometheus-text.ts';
import { requestRecord } from '../../test/support/request-record.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { code, page, table } from './markdown.ts';

export async function metricsPage(): Promise<string> {
  const text = await exampleScrape();
  const samples = samplesOf(text);
  const described = [...text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)$/gm)];
  const rows = described.map(([, name = '', help = '', kind = '']) => {
    const labels = new Set(
      samples.filter(({ family }) => family === name).flatMap((sample) => Object.keys(sample.labels)),
    );
    labels.delete('le');
    return [code(name), kind, [...labels].map(code).join(', '), help];
  });
  return page(
    'Metrics',
    `\`GET /metrics\` answers in Prometheus' text format. Names begin with \`${METRIC_PREFIX}\`, units are base units. The label \`model\` is ` +
      'always a configured name, or `unknown`: never what a client sent. Gauges are computed from one snapshot at scrape time. ' +
      "Node's own process metrics (`process_*`, `nodejs_*`) come on top.",
    table(['Name', 'Kind', 'Labels', 'Meaning'], rows),
    '## Outcomes',
    'Every request ends with exactly one `outcome`:',
    table(
      ['Outcome', 'Meaning'],
      [
        ['`completed`', 'The answer of the engine was relayed to its end, whatever its status.'],
        ['`rejected`', 'Refused before an engine worked for it; failed starts included.'],
        ['`client_closed`', 'The client left.'],
        ['`upstream_failed`', 'The engine broke off, or sent an error in the middle of a stream.'],
        ['`deadline`', '`queue_timeout`, `upstream_timeout` or `drain_timeout`.'],
        ['`shutdown`', 'The gateway was ending.'],
        ['`internal`', 'A bug of the gateway.'],
      ],
    ),
  );
}

/** Of a gateway to which everything happened once. `processMetrics`: Node's own too. */
export async function exampleScrape(processMetrics = false): Promise<string> {
  const clock = new VirtualClock();
  using metrics = createMetrics({ clock, isModel: () => true, processMetrics });
  metrics.observe({
    snapshot: () =>
      fleetSnapshot({
        models: [modelSnapshot('llama')],
        replicas: [replicaSnapshot('llama-1', 'llama')],
        devices: [deviceSnapshot('gpu-0')],
      }),
    proxyStats: () => ({ bufferedBytes: 0, connections: [{ model: 'llama', busy: 1, idle: 1 }] }),
    workers: () => 3,
    configProblems: () => 0,
    configLoadedAt: () => 0,
  });
  metrics.requestEnded(requestRecord());
  metrics.upstreamRequest('llama', true);
  metrics.retried('llama', 'connect');
  metrics.startEnded('llama', 'ready', '', 1);
  metrics.evicted('llama', 'capacity');
  metrics.invariantViolated('', '');
  metrics.reloaded('applied');
  return (await metrics.render()).text;
}
