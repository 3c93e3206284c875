/** What becomes of models and settings when another configuration takes the place of the one in force. */
import type { ReloadAnswer, StatusAnswer } from '../../../src/admin/contract.ts';
import { colourOf } from '../colours.ts';
import { plural } from '../format.ts';

export type Diff = NonNullable<ReloadAnswer['diff']>;
type Setting = Diff['changed'][number];

interface DifferenceProps {
  readonly diff: Diff;
  readonly status: StatusAnswer;
}

const FATES = [
  {
    key: 'remove',
    title: 'Remove',
    tone: 'bad',
    note: 'waiting requests end with model_not_found; running ones end first',
  },
  { key: 'drain_and_restart', title: 'Drain and restart', tone: 'warn', note: 'running requests end first' },
  { key: 'add', title: 'Add', tone: 'good', note: 'started when somebody asks' },
  { key: 'keep', title: 'Keep', tone: '', note: 'engines and streams go on' },
] as const;

export function Difference({ diff, status }: DifferenceProps) {
  return (
    <>
      <dl class="fates">
        {FATES.map(({ key, title, tone, note }) => (
          <div key={key} class={diff[key].length === 0 ? 'none' : ''}>
            <dt class={diff[key].length === 0 ? '' : tone}>{title}</dt>
            <dd>
              <Names names={diff[key]} status={status} busy={key === 'remove' || key === 'drain_and_restart'} />
              {diff[key].length > 0 && <span class="quiet aside">{note}</span>}
            </dd>
          </div>
        ))}
      </dl>
      {diff.changed.length > 0 && <Settings changed={diff.changed} />}
    </>
  );
}

interface NamesProps {
  readonly names: readonly string[];
  readonly status: StatusAnswer;
  readonly busy: boolean;
}

function Names({ names, status, busy }: NamesProps) {
  if (names.length === 0) return <span class="quiet">none</span>;
  const configured = Object.keys(status.models);
  return (
    <>
      {names.map((name) => (
        <span key={name} class="name">
          {configured.includes(name) && <i class={`swatch engine ${colourOf(name, configured)}`} aria-hidden="true" />}
          {name}
          {busy && <span class="hot">{loadOf(name, status)}</span>}
        </span>
      ))}
    </>
  );
}

/** Who would notice. */
function loadOf(name: string, { models }: StatusAnswer): string {
  const { in_flight: running = 0, queued = 0 } = models[name] ?? {};
  const told = [
    ...(running > 0 ? [`${plural(running, 'request')} in flight`] : []),
    ...(queued > 0 ? [`${queued} queued`] : []),
  ];
  return told.length === 0 ? '' : ` (${told.join(', ')})`;
}

const RULES: Readonly<Record<Setting['rule'], string>> = {
  live: 'at once',
  drain: 'with another engine',
  restart: 'only with a restart of the gateway',
};

function Settings({ changed }: { readonly changed: readonly Setting[] }) {
  return (
    <div class="wide" tabIndex={0} role="region" aria-label="Settings that change">
      <table class="settings">
        <thead>
          <tr>
            <th scope="col">Setting</th>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col">Holds</th>
          </tr>
        </thead>
        <tbody>
          {changed.map(({ path, from, to, rule }) => (
            <tr key={path}>
              <th scope="row">
                <code>{path}</code>
              </th>
              <td>
                <code>{valueText(from)}</code>
              </td>
              <td>
                <code>{valueText(to)}</code>
              </td>
              <td class={rule === 'live' ? '' : 'hot'}>{RULES[rule]}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function valueText(value: unknown): string {
  if (value === null || value === undefined) return '–';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
