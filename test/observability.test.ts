/** Board and alerts speak of metrics that exist, and every alert has its heading in the runbook. */
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { ERRORS } from '../src/errors.ts';
import { exampleScrape } from '../tools/docs/metrics-page.ts';
import { checkPromql, knownMetrics, type KnownMetrics } from './support/promql.ts';
import { samplesOf } from './support/prometheus-text.ts';
import { readSource } from './support/source-tree.ts';

const PREFIX = 'vllm_gateway_';

const VALUES = {
  [`${PREFIX}requests_total`]: {
    outcome: ['completed', 'rejected', 'client_closed', 'upstream_failed', 'deadline', 'shutdown', 'internal'],
    code: ['', 'other', ...Object.keys(ERRORS)],
  },
  [`${PREFIX}starts_total`]: { result: ['ready', 'failed'] },
  [`${PREFIX}evictions_total`]: { reason: ['evicted', 'turn', 'idle'] },
  [`${PREFIX}replicas`]: { state: ['reserved', 'starting', 'ready', 'draining', 'stopping', 'zombie'] },
  [`${PREFIX}device_memory_bytes`]: { kind: ['total', 'budget', 'reserved', 'foreign'] },
  [`${PREFIX}upstream_requests_total`]: { reused: ['true', 'false'] },
  [`${PREFIX}config_reloads_total`]: { result: ['applied', 'unchanged', 'rejected'] },
};

const known: KnownMetrics = knownMetrics(samplesOf(await exampleScrape(true)), VALUES);

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook: string };
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
  readonly fieldConfig?: { readonly defaults: { readonly unit: string } };
}

interface Board {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}

const rules = parse(readSource('examples/prometheus/alerts.yaml')) as {
  groups: readonly { rules: readonly Alert[] }[];
};
const alerts = rules.groups.flatMap((group) => group.rules);
const board = JSON.parse(readSource('examples/grafana/vllm-gateway.json')) as Board;
const drawn = board.panels.filter(({ type }) => type !== 'row');

const ownMetrics = (text: string): string[] => text.match(/vllm_gateway_\w+/g) ?? [];
const labelsIn = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, name = '']) => name);

/** As Grafana would ask: spans of time are filled in; the other variables stand in quotes. */
const asked = (expr: string): string => expr.replaceAll(/\$__(?:rate_interval|range|interval)/g, '5m');

/** As the documents' anchors are made of headings. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-');

describe('the alerts', () => {
  it.each(alerts)('$alert asks for metrics, labels and values that there are', ({ expr, annotations }) => {
    const { complaints, labels } = checkPromql(expr, known);
    expect(complaints).toEqual([]);
    const told = labelsIn(annotations.summary + annotations.description, /\$labels\.(\w+)/g);
    expect(told.filter((label) => !labels.has(label))).toEqual([]);
  });

  it('compare with a bound, last for a while, say how urgent they are and what they mean', () => {
    for (const { expr, for: span, labels, annotations } of alerts) {
      expect(expr).toMatch(/(?:>=?|<=?|==) [\d.]+$/);
      expect(span).toMatch(/^\d+[smh]$/);
      expect(['critical', 'warning']).toContain(labels.severity);
      expect(annotations.summary).toMatch(/^[A-Z].*\.$/);
      expect(annotations.description).toMatch(/\.$/);
    }
    expect(new Set(alerts.map(({ alert }) => alert)).size).toBe(alerts.length);
  });

  it('have a heading each in the runbook, which has no other below "Alerts"', () => {
    const page = readSource('docs/operations.md');
    const section = (/^## Alerts\n([^]*?)(?=^## |$(?![^]))/m.exec(page) ?? [])[1] ?? '';
    const anchors = [...section.matchAll(/^### (.*)$/gm)].map(
      ([, heading = '']) => `docs/operations.md#${anchorOf(heading)}`,
    );
    expect(alerts.map(({ annotations }) => annotations.runbook)).toEqual(anchors);
  });
});

describe('the board', () => {
  it.each(drawn)('$title asks for metrics, labels and values that there are', ({ targets = [] }) => {
    expect(targets).not.toEqual([]);
    for (const { expr, legendFormat } of targets) {
      const { complaints, labels } = checkPromql(asked(expr), known);
      expect(complaints).toEqual([]);
      expect(labelsIn(legendFormat, /\{\{(\w+)\}\}/g).filter((label) => !labels.has(label))).toEqual([]);
      // Two series of one name cannot be told apart.
      expect([...labels].filter((label) => !legendFormat.includes(label))).toEqual([]);
    }
  });

  it('explains every panel, names its unit, and asks the data source that the reader chooses', () => {
    for (const { description, fieldConfig, datasource } of drawn) {
      expect(description).toMatch(/\.$/);
      expect(fieldConfig?.defaults.unit).toMatch(/^\w+$/);
      expect(datasource?.uid).toBe('${datasource}');
    }
    expect(new Set(board.panels.map(({ id }) => id)).size).toBe(board.panels.length);
  });

  it('has every variable that it uses, each read from a metric that there is', () => {
    const names = board.templating.list.map(({ name }) => name);
    const used = labelsIn(JSON.stringify(board), /\$\{?([a-z]\w*)/g);
    expect(used.filter((name) => !names.includes(name))).toEqual([]);
    for (const { definition } of board.templating.list) {
      if (definition === undefined) continue;
      const [, selector = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? [];
      const { complaints, labels } = checkPromql(selector, known);
      expect(complaints).toEqual([]);
      expect(labels).toContain(label);
    }
  });

  it('lays no panel over another, nor beyond the edge', () => {
    const cells = new Set<string>();
    for (const { title, gridPos } of board.panels) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(cells.has(`${x},${y}`), title).toBe(false);
          cells.add(`${x},${y}`);
        }
      }
    }
  });

  it('shows every metric of the gateway, or an alert does, but for one', () => {
    const shown = new Set(
      [
        ...drawn.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
        ...alerts.map(({ expr }) => expr),
      ].flatMap(ownMetrics),
    );
    const families = [...known.keys()]
      .filter((name) => name.startsWith(PREFIX))
      .map((name) => name.replace(/_(?:bucket|sum|count)$/, ''));
    const missing = [...new Set(families)].filter((family) => ![...shown].some((name) => name.startsWith(family)));
    expect(missing).toEqual([`${PREFIX}config_last_reload_success_timestamp_seconds`]);
  });
});

describe('the check of PromQL', () => {
  it.each([
    ['rate(vllm_gateway_requests_total[5m]', 'syntax'],
    ['rate(vllm_gateway_request_total[5m])', 'no metric vllm_gateway_request_total'],
    ['vllm_gateway_request_duration_seconds', 'no metric'],
    ['vllm_gateway_requests_total{modell="a"}', 'has no label modell'],
    ['vllm_gateway_requests_total{outcome=~"completed|complete"}', 'is never "complete"'],
    ['vllm_gateway_replicas{state="up"} > 0', 'is never "up"'],
    ['sum by (cause) (vllm_gateway_requests_total)', 'nothing to group by cause'],
    ['rate(vllm_gateway_in_flight[5m])', 'no counter'],
    ['histogram_quantile(0.9, sum by (model) (rate(vllm_gateway_queue_wait_seconds_bucket[5m])))', 'without le'],
    ['sum by (model) (vllm_gateway_in_flight) / sum (vllm_gateway_in_flight)', 'never matches'],
  ])('refuses %s', (expression, complaint) => {
    expect(checkPromql(expression, known).complaints.join()).toContain(complaint);
  });
});
