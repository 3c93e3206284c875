/** PromQL, held against the metrics that there are: syntax, names, labels, and values of labels that are closed sets. */
import { parser } from '@prometheus-io/lezer-promql';
import type { PrometheusSample } from './prometheus-text.ts';

export interface KnownMetric {
  readonly labels: ReadonlySet<string>;
  /** Label → every value that it can have; labels that are not here can have any. */
  readonly values: Readonly<Record<string, readonly string[]>>;
}

export type KnownMetrics = ReadonlyMap<string, KnownMetric>;

type Tree = ReturnType<typeof parser.parse>;
type Node = Tree['topNode'];

/** Prometheus adds these to everything that it scrapes. */
const OF_SCRAPES = ['job', 'instance'];
const VARIABLE = /^\$\{?\w+\}?$/;

/** What a scrape shows, with `up`, which Prometheus makes itself. */
export function knownMetrics(
  samples: readonly PrometheusSample[],
  values: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>,
): KnownMetrics {
  const known = new Map<string, KnownMetric>([['up', { labels: new Set(OF_SCRAPES), values: {} }]]);
  for (const { name, family, labels } of samples) {
    const all = new Set([...(known.get(name)?.labels ?? OF_SCRAPES), ...Object.keys(labels)]);
    known.set(name, { labels: all, values: values[family] ?? {} });
  }
  return known;
}

export interface Verdict {
  readonly complaints: readonly string[];
  /** Labels of the result. */
  readonly labels: ReadonlySet<string>;
}

export function checkPromql(expression: string, known: KnownMetrics): Verdict {
  const check = new Check(expression, known);
  const labels = check.labelsOf(parser.parse(expression).topNode);
  return { complaints: check.complaints, labels: labels ?? new Set() };
}

const childrenOf = (node: Node): Node[] => {
  const children: Node[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) children.push(child);
  return children;
};

const descendants = (node: Node, name: string): Node[] =>
  childrenOf(node).flatMap((child) => (child.name === name ? [child] : descendants(child, name)));

type Labels = ReadonlySet<string> | null;

class Check {
  readonly complaints: string[] = [];
  readonly #text: string;
  readonly #known: KnownMetrics;

  constructor(text: string, known: KnownMetrics) {
    this.#text = text;
    this.#known = known;
  }

  /** Null: a number, not a vector. */
  labelsOf(node: Node): Labels {
    if (node.type.isError)
      this.complaints.push(`syntax at ${node.from}: ${this.#text.slice(node.from, node.from + 20)}`);
    switch (node.name) {
      case 'VectorSelector':
        return this.#selector(node);
      case 'AggregateExpr':
        return this.#aggregate(node);
      case 'BinaryExpr':
        return this.#binary(node);
      case 'FunctionCall':
        return this.#call(node);
      default:
        return childrenOf(node).reduce<Labels>((found, child) => this.labelsOf(child) ?? found, null);
    }
  }

  #selector(node: Node): Labels {
    const [name = ''] = descendants(node, 'Identifier').map((found) => this.#read(found));
    const metric = this.#known.get(name);
    for (const child of childrenOf(node)) if (child.type.isError) this.labelsOf(child);
    if (metric === undefined) {
      this.complaints.push(`no metric ${name}`);
      return new Set();
    }
    for (const matcher of descendants(node, 'UnquotedLabelMatcher')) this.#matcher(matcher, name, metric);
    return metric.labels;
  }

  #matcher(node: Node, name: string, metric: KnownMetric): void {
    const [label = '', operator = '', quoted = '""'] = childrenOf(node).map((child) => this.#read(child));
    if (!metric.labels.has(label)) this.complaints.push(`${name} has no label ${label}`);
    const value = quoted.slice(1, -1);
    const allowed = metric.values[label];
    if (allowed === undefined || VARIABLE.test(value)) return;
    for (const one of operator.includes('~') ? value.split('|') : [value]) {
      if (!allowed.includes(one)) this.complaints.push(`${name}{${label}} is never ${JSON.stringify(one)}`);
    }
  }

  #aggregate(node: Node): Labels {
    const [body] = descendants(node, 'FunctionCallBody');
    const inner = (body && this.labelsOf(body)) ?? new Set<string>();
    const [modifier] = childrenOf(node).filter(({ name }) => name === 'AggregateModifier');
    if (modifier === undefined) return new Set();
    const named = descendants(modifier, 'LabelName').map((label) => this.#read(label));
    for (const label of named) if (!inner.has(label)) this.complaints.push(`nothing to group by ${label}`);
    return descendants(modifier, 'By').length > 0
      ? new Set(named)
      : new Set([...inner].filter((label) => !named.includes(label)));
  }

  #call(node: Node): Labels {
    const [body] = descendants(node, 'FunctionCallBody');
    const inner = body === undefined ? null : this.labelsOf(body);
    const called = this.#read(descendants(node, 'FunctionIdentifier')[0] ?? node);
    const counts = /^(?:rate|irate|increase)$/.test(called);
    const [metric = ''] = descendants(node, 'VectorSelector').map((found) =>
      this.#read(found).replace(/[^\w:].*$/s, ''),
    );
    if (counts && !/_(?:total|bucket|sum|count)$/.test(metric))
      this.complaints.push(`${called} of ${metric}, no counter`);
    if (called !== 'histogram_quantile') return inner;
    if (inner?.has('le') !== true) this.complaints.push('histogram_quantile of something without le');
    return new Set([...(inner ?? [])].filter((label) => label !== 'le'));
  }

  #binary(node: Node): Labels {
    const children = childrenOf(node);
    const [left, right] = [children[0], children.at(-1)].map((side) =>
      side === undefined ? null : this.labelsOf(side),
    );
    for (const child of children.slice(1, -1)) this.labelsOf(child);
    if (!left || !right) return left ?? right ?? null;
    const isMatched = descendants(node, 'MatchingModifierClause').length > 0;
    const shown = (labels: ReadonlySet<string>): string => [...labels].toSorted().join();
    // Series match by all their labels: with different ones there would never be a result.
    if (!isMatched && shown(left) !== shown(right)) {
      this.complaints.push(`{${shown(left)}} never matches {${shown(right)}}`);
    }
    return left;
  }

  #read(node: Node): string {
    return this.#text.slice(node.from, node.to);
  }
}
