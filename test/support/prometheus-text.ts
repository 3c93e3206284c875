/** Reads Prometheus' text format strictly enough to notice a malformed line. */
export interface PrometheusSample {
  readonly name: string;
  /** The name that `# TYPE` describes: without `_bucket`, `_sum`, `_count` of a histogram. */
  readonly family: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\.)*)"(?:,|$)/y;

export function samplesOf(text: string): readonly PrometheusSample[] {
  const histograms = new Set(
    [...text.matchAll(/^# TYPE (\S+) (?:histogram|summary)$/gm)].map((match) => match[1] ?? ''),
  );
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const match = LINE.exec(line);
      if (!match) throw new Error(`not a sample: ${line}`);
      const name = match[1] ?? '';
      const stem = name.replace(/_(?:bucket|sum|count)$/, '');
      const value = match[3] === '+Inf' ? Infinity : match[3] === 'Nan' ? Number.NaN : Number(match[3]);
      return { name, family: histograms.has(stem) ? stem : name, labels: labelsOf(match[2] ?? ''), value };
    });
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const at = LABEL.lastIndex;
    const match = LABEL.exec(text);
    if (!match) throw new Error(`not labels: ${text.slice(at)}`);
    labels[match[1] ?? ''] = JSON.parse(`"${match[2] ?? ''}"`) as string;
  }
  return labels;
}

/** The one sample of this name whose labels include the given ones; undefined when there is none. */
export function sampleValue(text: string, name: string, labels: Readonly<Record<string, string>>): number | undefined {
  const found = samplesOf(text).filter(
    (sample) =>
      sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  if (found.length > 1) throw new Error(`${found.length} samples of ${name} match`);
  return found[0]?.value;
}
