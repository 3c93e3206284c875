/** One picture of a gateway for a terminal of a given size. Pure: the same facts are the same lines. */
import type { DecisionEvent, DeviceStatus, ModelStatus, ReplicaStatus, StatusAnswer } from '../../admin/contract.ts';
import { SECOND } from '../../units.ts';
import { preparationText, progressText, STATE_COLOURS } from '../render-status.ts';
import { mibText, plural, spanText } from '../words.ts';
import type { Colour } from '../world.ts';
import { fitted, span, table, type Line, type Span } from './spans.ts';

export interface View {
  readonly status: StatusAnswer;
  /** Oldest first. */
  readonly events: readonly DecisionEvent[];
  readonly url: string;
  /** Wall clock. */
  readonly now: number;
  /** Why the picture is not of now; null = it is. */
  readonly trouble: string | null;
}

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  /** False where the terminal shows ASCII only. */
  readonly unicode: boolean;
}

interface Marks {
  readonly engines: string;
  readonly coming: string;
  readonly others: string;
  readonly free: string;
  readonly more: string;
}

const UNICODE: Marks = { engines: '█', coming: '▒', others: '▓', free: '·', more: '…' };
const ASCII: Marks = { engines: '#', coming: '+', others: 'x', free: '.', more: '~' };
const LONGEST_BAR = 40;
const SHORTEST_BAR = 8;
const PROGRESS_BAR = 16;
/** Kept for events where many models could fill the screen; a low screen shows models alone. */
const LEAST_EVENTS = 3;
const LOW_SCREEN = 20;
/** The longest kind of event that is common. */
const KIND_WIDTH = 'replica.start_failed'.length;

/** Exactly as many lines as fit; the last is how to leave. */
export function frame(view: View, screen: Screen): readonly Line[] {
  const marks = screen.unicode ? UNICODE : ASCII;
  const foot: Line = [span('q or Ctrl+C leaves', 'dim'), span(legend(view, marks), 'dim')];
  const top = [headline(view), ...problemLines(view)];
  const devices = deviceLines(view.status, screen, marks);
  const room = Math.max(0, screen.rows - top.length - 1);
  const starts = startLines(view.status, marks);
  const kept = screen.rows < LOW_SCREEN ? 0 : section('STARTS', starts).length + LEAST_EVENTS + 2;
  const most = Math.max(2, room - section('DEVICES', devices).length - kept - 1);
  const models = limited(modelLines(view), most, 'model', marks);
  const upper = [...section('DEVICES', devices), ...section(null, models), ...section('STARTS', starts)];
  const left = room - upper.length - 2;
  const events = left > 0 ? view.events.slice(-left).map(eventLine) : [];
  const body = [...top, ...upper, ...section('LAST EVENTS', events)];
  const lines = body.slice(0, Math.max(0, screen.rows - 1));
  const blank: Line = [];
  const filled = [...lines, ...Array.from({ length: Math.max(0, screen.rows - 1 - lines.length) }, () => blank), foot];
  return filled.slice(-screen.rows).map((line) => fitted(line, screen.columns, marks.more));
}

function section(title: string | null, lines: readonly Line[]): readonly Line[] {
  if (lines.length === 0) return [];
  return [[], ...(title === null ? [] : [[span(title, 'dim')]]), ...lines];
}

function headline({ status: { gateway, limits, models }, url, trouble }: View): Line {
  const all = Object.values(models);
  const inFlight = all.reduce((total, model) => total + model.in_flight, 0);
  const queued = all.reduce((total, model) => total + model.queued, 0);
  const state: Span =
    trouble === null ? span(gateway.state, STATE_COLOURS[gateway.state]) : span('not answering', 'red');
  const facts = ` · up ${spanText(gateway.uptime_s * SECOND)} · ${inFlight}/${limits.max_in_flight} in flight · ${queued} queued · ${url}`;
  return [span(`vLLM Gateway ${gateway.version}`, 'bold'), span(' · '), state, span(facts)];
}

function problemLines({ status, trouble }: View): readonly Line[] {
  const lines: Line[] = trouble === null ? [] : [[span(trouble, 'red')]];
  const { problems } = status.config;
  const [first] = problems;
  if (first === undefined) return lines;
  const told = `${plural(problems.length, 'problem')} of the configuration, first: ${first.path}: ${first.message}`;
  return [...lines, [span(told, first.severity === 'error' ? 'red' : 'yellow')]];
}

function legend({ status }: View, marks: Marks): string {
  if (Object.keys(status.devices).length === 0) return '';
  return `   ${marks.engines} engines  ${marks.coming} promised  ${marks.others} others  ${marks.free} free  | budget`;
}

function deviceLines(status: StatusAnswer, screen: Screen, marks: Marks): readonly Line[] {
  const entries = Object.entries(status.devices);
  const names = Math.max(0, ...entries.map(([id, { pool }]) => deviceName(id, pool).length));
  const length = Math.min(LONGEST_BAR, Math.max(SHORTEST_BAR, Math.floor((screen.columns - names) / 2) - 4));
  return table(
    entries.map(([id, device]) => [
      span(deviceName(id, device.pool)),
      span(`${mibText(device.used_mib)} of ${mibText(device.total_mib)}`),
      span(deviceNote(device, status), device.reason === null ? undefined : 'red'),
    ]),
  ).map((line, index) => {
    const device = entries[index]?.[1];
    // The bar stands between the name and the numbers, and has colours of its own.
    return device ? [...line.slice(0, 2), ...bar(device, length, marks), span('  '), ...line.slice(2)] : line;
  });
}

const deviceName = (id: string, pool: string | null): string => (pool === null ? id : `${id} (${pool})`);

function deviceNote({ residents, reason, state, gate }: DeviceStatus, { replicas }: StatusAnswer): string {
  const who = [...new Set(residents.map((replica) => replicas[replica]?.model ?? replica))].join(' ');
  if (reason !== null) return [who, `${state}: ${reason}`].filter((part) => part !== '').join('  ');
  return gate === null ? who : `${who}  starting for ${spanText(gate.for_s * SECOND)}`.trim();
}

/** Engines hold what is used up to what is promised to them; the rest of what is used is held by others. */
function bar(device: DeviceStatus, length: number, marks: Marks): readonly Span[] {
  const { total_mib: total, used_mib: used, reserved_mib: reserved, budget_mib: budget } = device;
  const at = (mib: number): number => (total <= 0 ? 0 : Math.min(length, Math.round((mib / total) * length)));
  const held = Math.min(used, reserved);
  const ends = { engines: at(held), coming: at(Math.max(held, reserved)), others: at(Math.max(used, reserved)) };
  const limit = budget > 0 && budget < total ? at(budget) : -1;
  const cells = Array.from({ length }, (_, index): Span => {
    if (index === limit) return { text: '|', colour: 'dim' };
    if (index < ends.engines) return { text: marks.engines, colour: 'green' };
    if (index < ends.coming) return { text: marks.coming, colour: 'yellow' };
    if (index < ends.others) return { text: marks.others, colour: 'red' };
    return { text: marks.free, colour: 'dim' };
  });
  return [{ text: '[' }, ...merged(cells), { text: ']' }];
}

function merged(cells: readonly Span[]): readonly Span[] {
  const runs: Span[] = [];
  for (const cell of cells) {
    const last = runs.at(-1);
    if (last && last.colour === cell.colour) runs[runs.length - 1] = { ...last, text: last.text + cell.text };
    else runs.push(cell);
  }
  return runs;
}

const NOTED: ReadonlySet<ReplicaStatus['state']> = new Set(['draining', 'stopping', 'zombie']);

function modelLines({ status, now }: View): readonly Line[] {
  const head = ['MODEL', 'STATE', 'QUEUED', 'IN FLIGHT', 'LAST USED', 'NOTE'].map((text) => span(text, 'dim'));
  const rows = Object.entries(status.models).map(([name, model]): Line => {
    const share = (count: number, most: number): Span =>
      span(count === 0 ? '0' : `${count}/${most}`, count > 0 && count >= most ? 'yellow' : undefined);
    return [
      span(model.pinned_by === null ? name : `${name} (pinned)`),
      span(model.state, STATE_COLOURS[model.state]),
      share(model.queued, model.max_queue_size),
      share(model.in_flight, model.max_concurrent),
      span(model.last_used_at === null ? '' : `${spanText(now - Date.parse(model.last_used_at))} ago`),
      modelNote(model, status),
    ];
  });
  return rows.length === 0 ? [] : table([head, ...rows]);
}

function modelNote(model: ModelStatus, status: StatusAnswer): Span {
  if (model.state === 'failed' && model.last_failure) return span(model.last_failure.message, 'red');
  if (model.waiting_for !== null) return span(`waiting for ${model.waiting_for}`, 'yellow');
  const leaving = model.replicas.flatMap((id) => {
    const replica = status.replicas[id];
    return replica && NOTED.has(replica.state) ? [`${replica.state}: ${replica.stop_reason ?? id}`] : [];
  });
  return span(leaving.join(', '), 'yellow');
}

/** The heads stay; what does not fit is counted. */
function limited(lines: readonly Line[], room: number, word: string, marks: Marks): readonly Line[] {
  if (lines.length <= room) return lines;
  const hidden = lines.length - room + 1;
  return [
    ...lines.slice(0, room - 1),
    [span(`${marks.more} and ${hidden} more ${word}${hidden === 1 ? '' : 's'}`, 'dim')],
  ];
}

/** What is on its way to ready: engines that start, and files that are fetched before. */
function startLines(status: StatusAnswer, marks: Marks): readonly Line[] {
  const starting = Object.values(status.replicas).flatMap((replica): readonly Line[] =>
    replica.state === 'starting' || replica.state === 'reserved'
      ? [[span(replica.model), progressBar(replica.progress, marks), span(progressText(replica))]]
      : [],
  );
  const fetching = Object.entries(status.models).flatMap(([name, { preparation }]): readonly Line[] =>
    preparation ? [[span(name), progressBar(preparation.progress, marks), span(preparationText(preparation))]] : [],
  );
  return table([...starting, ...fetching]);
}

function progressBar(progress: number | null, marks: Marks): Span {
  const done = Math.round(Math.min(1, Math.max(0, progress ?? 0)) * PROGRESS_BAR);
  return span(`[${marks.engines.repeat(done)}${marks.free.repeat(PROGRESS_BAR - done)}]`, 'yellow');
}

function eventLine({ at, kind, model, replica, reason }: DecisionEvent): Line {
  const colour: Colour = /fail|crash|lost|quarantin/.test(kind) ? 'red' : 'bold';
  const about = replica ?? model;
  return [
    span(at.slice(11, 19), 'dim'),
    span('  '),
    span(kind.padEnd(KIND_WIDTH), colour),
    span(about === null ? '' : `  ${about}`),
    span(reason === '' ? '' : `  ${reason}`),
  ];
}
