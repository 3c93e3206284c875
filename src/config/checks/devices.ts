/** Devices, pools, and whether what a model asks for can exist on them. */
import type { ModelConfig } from '../config.ts';
import { quote } from '../schema/scalar.ts';
import { exactSize } from '../schema/spelling.ts';
import { didYouMean } from '../suggest.ts';
import { formatSize } from '../../units.ts';
import { complain, isWritten, listsDevices, takesMemory, type CheckInput } from './check-input.ts';

const PIN = 'GATEWAY_GPU_UUID';

export function checkDevices(input: CheckInput): void {
  checkList(input);
  checkPools(input);
  checkPin(input);
  for (const model of input.config.models.values()) {
    if (!takesMemory(model)) continue;
    checkPoolOf(input, model);
    checkDevicesOf(input, model);
    checkFit(input, model);
  }
}

function checkList(input: CheckInput): void {
  const { config, problems, written } = input;
  const { probe, list } = config.devices;
  const entries = written.devices?.list ?? [];
  entries.forEach((entry, index) => {
    for (const name of ['id', 'memory'] as const) {
      if (entry[name] !== undefined || isWritten(input, ['devices', 'list', index, name])) continue;
      const right = name === 'id' ? 'a name such as gpu-0' : 'a size such as 24GiB';
      problems.inFile('error', ['devices', 'list', index, name], 'missing', `is missing; allowed: ${right}`, [
        ['devices', 'list', index],
      ]);
    }
  });
  const seen = new Map<string, string>();
  list.forEach((device, index) => {
    for (const [key, value] of [
      ['id', device.id],
      ['uuid', device.uuid],
    ] as const) {
      if (value === null || value === '') continue;
      const path = ['devices', 'list', index, key] as const;
      const first = seen.get(value);
      if (first !== undefined && first !== `devices.list[${index}].id`) {
        problems.inFile('error', path, 'duplicate', `${quote(value)} is already ${first}; ids and UUIDs are unique`);
      } else seen.set(value, `devices.list[${index}].${key}`);
    }
  });
  if (listsDevices(input) && list.length === 0 && !isWritten(input, ['devices', 'list', 0])) {
    if (!input.file?.place(['devices', 'list', 0])) {
      problems.inFile(
        'error',
        ['devices', 'list'],
        'missing',
        `is empty, but devices.probe ${probe} knows only what it lists; allowed: at least one {id: gpu-0, memory: 24GiB}`,
        [['devices', 'probe']],
      );
    }
  }
  if (!listsDevices(input) && list.length > 0) {
    problems.inFile(
      'warning',
      ['devices', 'list'],
      'unused',
      `has no effect with devices.probe ${probe}; only static and simulated read it`,
    );
  }
}

function checkPools(input: CheckInput): void {
  const { config, problems, written } = input;
  const owner = new Map<string, string>();
  if (
    written.pools !== undefined &&
    config.pools.size === 0 &&
    !problems.list.some(({ path }) => path.startsWith('pools'))
  ) {
    problems.inFile(
      'error',
      ['pools'],
      'not_allowed',
      'is empty; allowed: at least one pool, such as {fast: [GPU-UUID]}, or no pools at all',
    );
  }
  const known = config.devices.list.flatMap(({ id, uuid }) => (uuid === null ? [id] : [id, uuid]));
  for (const [pool, members] of config.pools) {
    members.forEach((member, index) => {
      const path = ['pools', pool, index];
      const other = owner.get(identityOf(input, member));
      if (other !== undefined) {
        problems.inFile(
          'error',
          path,
          'duplicate',
          `${quote(member)} is already in pool ${quote(other)}; a device belongs to one pool`,
        );
      }
      owner.set(identityOf(input, member), other ?? pool);
      if (listsDevices(input) && !known.includes(member)) {
        problems.inFile(
          'error',
          path,
          'unknown_device',
          `${quote(member)} is not in devices.list; allowed: ${known.join(', ')}${didYouMean(member, known)}`,
        );
      }
    });
  }
}

/** A device has two names; both mean the same one. */
function identityOf(input: CheckInput, name: string): string {
  return input.config.devices.list.find(({ id, uuid }) => id === name || uuid === name)?.id ?? name;
}

/** The pin of the original gives way to pools. */
function checkPin(input: CheckInput): void {
  const pinned = [...input.environment.values()].some(({ variable }) => variable === PIN);
  if (!pinned || input.config.pools.size === 0) return;
  const message = `has no effect: pools in ${input.problems.source} go before it`;
  input.problems.inEnvironment('info', PIN, 'hidden_by_file', message);
}

function checkPoolOf(input: CheckInput, model: ModelConfig): void {
  const { config, written } = input;
  const names = [...config.pools.keys()];
  const asked = written.models?.[model.name]?.pool ?? written.defaults?.pool ?? null;
  // Refused pools are told where they stand; what refers to them is not told again.
  if (names.length === 0) {
    if (asked !== null && !isWritten(input, ['pools'])) {
      complain(
        input,
        'warning',
        model.name,
        ['pool'],
        'unused',
        `${quote(asked)} has no effect: the file has no pools; remove it, or add pools`,
      );
    }
    return;
  }
  if (model.pool === null) {
    if (isWritten(input, ['models', model.name, 'pool']) && written.models?.[model.name]?.pool === undefined) return;
    complain(
      input,
      'error',
      model.name,
      ['pool'],
      'missing',
      `is missing; once there are pools every model names one; allowed: ${names.join(', ')}`,
    );
  } else if (!config.pools.has(model.pool) && !isWritten(input, ['pools', model.pool])) {
    complain(
      input,
      'error',
      model.name,
      ['pool'],
      'unknown_pool',
      `${quote(model.pool)} is not a pool; allowed: ${names.join(', ')}${didYouMean(model.pool, names)}`,
    );
  }
}

function checkDevicesOf(input: CheckInput, model: ModelConfig): void {
  if (model.devices === null) return;
  const { list } = input.config.devices;
  const pinned = !isWritten(input, ['models', model.name, 'devices']) && !isWritten(input, ['defaults', 'devices']);
  model.devices.forEach((device, index) => {
    if (!listsDevices(input) || list.some(({ id, uuid }) => id === device || uuid === device)) return;
    const known = list.flatMap(({ id, uuid }) => (uuid === null ? [id] : [id, uuid]));
    const message = `${quote(device)} is not in devices.list; allowed: ${known.join(', ')}${didYouMean(device, known)}`;
    if (!pinned) complain(input, 'error', model.name, ['devices', index], 'unknown_device', message);
    else if (!input.problems.list.some(({ path }) => path === PIN)) {
      input.problems.inEnvironment('error', PIN, 'unknown_device', message);
    }
  });
  const pool = model.pool === null ? undefined : input.config.pools.get(model.pool);
  if (!pool) return;
  const members = pool.map((member) => identityOf(input, member));
  model.devices.forEach((device, index) => {
    if (members.includes(identityOf(input, device))) return;
    complain(
      input,
      'error',
      model.name,
      ['devices', index],
      'unknown_device',
      `${quote(device)} is not in the model's pool ${quote(model.pool)}; allowed: ${pool.join(', ')}`,
    );
  });
}

/** Devices that the model may use, as far as the configuration alone tells. */
function reach(input: CheckInput, model: ModelConfig): { names: readonly string[]; where: string } | undefined {
  const pool = model.pool === null ? undefined : input.config.pools.get(model.pool);
  if (model.devices !== null)
    return { names: model.devices.map((name) => identityOf(input, name)), where: 'its devices are' };
  if (pool) return { names: pool.map((name) => identityOf(input, name)), where: `pool ${quote(model.pool)} has` };
  return listsDevices(input)
    ? { names: input.config.devices.list.map(({ id }) => id), where: 'devices.list has' }
    : undefined;
}

function checkFit(input: CheckInput, model: ModelConfig): void {
  const found = reach(input, model);
  if (!found || found.names.length === 0) return;
  if (model.tensorParallelSize > found.names.length) {
    complain(
      input,
      'error',
      model.name,
      ['tensor_parallel_size'],
      'too_few_devices',
      `${model.tensorParallelSize} is more than there are devices: ${found.where} ${found.names.length}; allowed: 1 to ${found.names.length}`,
    );
  }
  const { memory } = model;
  if (memory === null || !listsDevices(input)) return;
  const { budgetFraction, list } = input.config.devices;
  const reached = list.filter(({ id }) => found.names.includes(id));
  // A device whose memory is missing or wrong is told of by itself; nothing follows from it.
  if (reached.some((device) => device.memory === 0)) return;
  const largest = Math.max(...reached.map((device) => Math.floor(device.memory * budgetFraction)));
  if (Number.isFinite(largest) && memory > largest) {
    complain(
      input,
      'warning',
      model.name,
      ['memory'],
      'never_fits',
      `${exactSize(memory)} never fits: the largest budget among its devices is ${formatSize(largest)} (memory × devices.budget_fraction ${budgetFraction}); every request for this model would be refused`,
    );
  }
}
