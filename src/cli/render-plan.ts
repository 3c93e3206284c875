/** `vllm-gateway plan` for people. */
import type { PlanAnswer, PlannedDevice, PlannedModel } from '../admin/contract.ts';
import { formatSize } from '../units.ts';
import { plain, renderTable } from './table.ts';
import type { Cell } from './table.ts';
import type { Colour, OutputStream } from './world.ts';

const OUTCOME_COLOURS: Readonly<Record<PlannedModel['outcome'], Colour>> = {
  placed: 'green',
  fits: 'green',
  waits: 'yellow',
  refused: 'red',
  never: 'red',
};

/** How a need is known, as people say it. */
const BASES: Readonly<Record<NonNullable<PlannedModel['basis']>, string>> = {
  declared: 'declared',
  footprint: 'measured',
  estimate: 'estimated',
  discovery: 'its share',
};

/** Fifteen models that each fit do not fit together. */
const EACH_ALONE = 'Each model is planned by itself, as if only it were asked for now.';

/** `detailed`: with the parts of each need and where the numbers are from. */
export function renderPlan(plan: PlanAnswer, detailed: boolean, out: OutputStream): string {
  const models = Object.entries(plan.models);
  const parts = [modelTable(plan, models, out)];
  const sentences = models.map(([name, model]) => sentenceOf(plan, name, model, detailed, out));
  parts.push(sentences.join('\n'));
  if (models.filter(([, { outcome }]) => outcome === 'fits').length > 1) parts.push(EACH_ALONE);
  if (Object.keys(plan.devices).length > 0) parts.push(deviceTable(plan, out));
  parts.push(out.style('dim', `placement_mode ${plan.placement_mode}, eviction ${plan.eviction}`));
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function heads(names: readonly string[], out: OutputStream): readonly Cell[] {
  return names.map((name) => ({ text: name, shown: out.style('dim', name) }));
}

function modelTable(plan: PlanAnswer, models: readonly (readonly [string, PlannedModel])[], out: OutputStream): string {
  const rows = models.map(([name, model]) => [
    plain(name),
    { text: model.outcome, shown: out.style(OUTCOME_COLOURS[model.outcome], model.outcome) },
    plain(needs(plan, model)),
    plain(model.basis === null ? '' : BASES[model.basis]),
    plain(model.tensor_parallel > 1 ? `${model.tensor_parallel}` : ''),
    plain(model.devices.join(' ')),
    plain(model.evicts.join(' ')),
    plain(model.missing_bytes > 0 ? formatSize(model.missing_bytes) : ''),
  ]);
  return renderTable(heads(['MODEL', 'PLAN', 'NEEDS', 'AS', 'GPUS', 'DEVICES', 'LEAVES', 'MISSING'], out), rows);
}

/** Where no byte can be read there is no number to show. */
function isUnmeasured({ devices }: PlanAnswer, model: PlannedModel): boolean {
  return model.devices.some((id) => devices[id]?.state === 'unmeasured');
}

function needs(plan: PlanAnswer, model: PlannedModel): string {
  if (isUnmeasured(plan, model)) return 'all';
  return model.need === null ? '' : formatSize(model.need.total_bytes);
}

function sentenceOf(plan: PlanAnswer, name: string, model: PlannedModel, detailed: boolean, out: OutputStream): string {
  const told = [model.reason, ...(detailed ? [...needLines(plan, model), ...model.notes] : [])];
  // The sentence names the model itself, as everywhere else.
  const [first = '', ...rest] = told;
  const lead = first.includes(`'${name}'`) ? first : `${name}: ${first}`;
  return [lead, ...rest.map((line) => out.style('dim', `  ${line}`))].join('\n');
}

function needLines(plan: PlanAnswer, model: PlannedModel): readonly string[] {
  const { need } = model;
  if (need === null || isUnmeasured(plan, model)) return [];
  const parts = [
    ['weights', need.weights_bytes],
    ['KV cache', need.kv_bytes],
    ['activations', need.activation_bytes],
    ['overhead', need.overhead_bytes],
  ] as const;
  const known = parts.flatMap(([name, bytes]) => (bytes === null ? [] : [`${name} ${formatSize(bytes)}`]));
  const lead = `On each device ${formatSize(need.total_bytes)}, while it starts ${formatSize(need.peak_bytes)}`;
  return [known.length === 0 ? `${lead}.` : `${lead}: ${known.join(', ')}.`];
}

function deviceTable(plan: PlanAnswer, out: OutputStream): string {
  const rows = Object.entries(plan.devices).map(([id, device]) => deviceRow(id, device, out));
  const names = ['DEVICE', 'STATE', 'TOTAL', 'BUDGET', 'OTHERS', 'PROMISED', 'FREE', 'RESIDENTS', 'NOTE'];
  return renderTable(heads(names, out), rows);
}

function deviceRow(id: string, device: PlannedDevice, out: OutputStream): Cell[] {
  const size = (bytes: number | null): Cell =>
    plain(device.state === 'unmeasured' || bytes === null ? '' : formatSize(bytes));
  const state = device.state === 'ok' ? 'ok' : out.style('yellow', device.state);
  return [
    plain(device.pool === null ? id : `${id} (${device.pool})`),
    { text: device.state, shown: state },
    size(device.total_bytes),
    size(device.budget_bytes),
    size(device.foreign_bytes === 0 ? null : device.foreign_bytes),
    size(device.promised_bytes),
    size(device.free_bytes),
    plain(device.residents.map(({ model }) => model).join(' ')),
    plain(device.reason ?? ''),
  ];
}
