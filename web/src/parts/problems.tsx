/** What is wrong with a configuration, where it is written, and what would be right. */
import type { StatusAnswer } from '../../../src/admin/contract.ts';
import { ago, plural } from '../format.ts';

type Config = StatusAnswer['config'];
export type Problem = Config['problems'][number];

const ORDER = { error: 0, warning: 1, info: 2 };

export function Problems({ problems }: { readonly problems: readonly Problem[] }) {
  const sorted = problems.toSorted((one, other) => ORDER[one.severity] - ORDER[other.severity]);
  return (
    <ul class="problem-list">
      {sorted.map((problem, index) => (
        <li key={index} class={problem.severity}>
          <span class="severity">{problem.severity}</span>
          <span>
            <code class="where">{placeOf(problem)}</code> {problem.path !== '' && <code>{problem.path}</code>}{' '}
            {problem.message}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** As editors and terminals take it: `gateway.yaml:12:5`. */
function placeOf({ source, line, column }: Problem): string {
  if (line === null) return source;
  return column === null ? `${source}:${line}` : `${source}:${line}:${column}`;
}

const SHOWN = 3;

/** Where everybody looks first: nothing, as long as nothing is wrong. */
export function ConfigNote({ config }: { readonly config: Config }) {
  const serious = config.problems.filter(({ severity }) => severity !== 'info');
  if (serious.length === 0 && config.rejected_at === null) return null;
  const errorsFirst = serious.toSorted((one, other) => ORDER[one.severity] - ORDER[other.severity]);
  return (
    <section
      class={`problems brief ${config.rejected_at === null ? '' : 'rejected'}`}
      aria-label="Problems of the configuration"
    >
      {config.rejected_at !== null && <p>{rejectedWords(config)}</p>}
      <Problems problems={errorsFirst.slice(0, SHOWN)} />
      <p>
        {serious.length > SHOWN && `${plural(serious.length - SHOWN, 'more problem', 'more problems')}. `}
        <a href="#/config">Configuration</a>
      </p>
    </section>
  );
}

export function rejectedWords({ rejected_at: at, version }: Config): string {
  const when = at === null ? '' : ` ${ago(at, Date.now())}`;
  return `The configuration was changed${when} and cannot be used: version ${version} stays in force. A restart would fail until it is mended.`;
}

/** All of these are among those. */
export function areAmong(problems: readonly Problem[], others: readonly Problem[]): boolean {
  const known = new Set(others.map((problem) => JSON.stringify(problem)));
  return problems.every((problem) => problem.severity === 'info' || known.has(JSON.stringify(problem)));
}
