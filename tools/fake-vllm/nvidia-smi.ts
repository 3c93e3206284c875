#!/usr/bin/env node
import { type FakeDevice, type FakeVram, pidOf, updateVram, usedMib } from './vram-file.ts';

/**
 * A pretended `nvidia-smi`: prints the devices and claims of `FAKE_VLLM_VRAM_FILE` in its CSV forms.
 *
 * `FAKE_VLLM_SMI_FAULT`, or `smi_fault` in the file, makes it misbehave: `na` (`[N/A]` instead of numbers; `na:N`: of that
 * device alone), `err` (`ERR!`), `nvml` (exit 255, as in a container that lost its devices), `mig` (the first device is split), `lost:N` (that device does not answer), `localised` (decimal commas),
 * `crlf`, `warnings` (before and behind the table), `hang`, `garbage`, `flood` (never ends), `no_driver` (exit 9),
 * `no_devices` (exit 6), `missing_device:N`, `slow:MS`, `empty`.
 */
function main(argv: readonly string[]): void {
  const path = process.env['FAKE_VLLM_VRAM_FILE'];
  if (path === undefined || path === '') fail('fake nvidia-smi: FAKE_VLLM_VRAM_FILE is not set', 9);
  // Reading through an update lets claims of dead processes go, as a driver would.
  const vram = updateVram(path, (current) => current);
  const faults = readFaults(vram);
  const slow = faults.get('slow');
  if (faults.has('hang')) setInterval(() => undefined, 60_000);
  else if (slow === undefined) print(vram, faults, argv);
  else setTimeout(() => print(vram, faults, argv), Number(slow));
}

function readFaults(vram: FakeVram): Map<string, string> {
  const text = process.env['FAKE_VLLM_SMI_FAULT'] ?? vram.smi_fault ?? '';
  const pairs = text.split(',').filter((item) => item !== '');
  return new Map(pairs.map((item) => [item.split(':')[0] ?? '', item.split(':')[1] ?? '']));
}

function print(vram: FakeVram, faults: Map<string, string>, argv: readonly string[]): void {
  if (faults.has('no_driver')) {
    fail(
      "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.",
      9,
    );
  }
  if (faults.has('nvml')) fail('Failed to initialize NVML: Unknown Error', 255);
  if (faults.has('no_devices')) fail('No devices were found', 6);
  if (faults.has('flood')) {
    flood();
    return;
  }
  if (faults.has('garbage')) {
    process.stdout.write('\u0000\u0001 not csv at all ,,,\n<html>');
    return;
  }
  if (faults.has('empty')) return;
  const lost = faults.get('lost');
  const missing = lost ?? faults.get('missing_device');
  if (lost !== undefined)
    emit(`Unable to determine the device handle for GPU${lost}: 0000:0${lost}:00.0: Unknown Error\n`, faults);
  if (faults.has('warnings')) emit('WARNING: persistence mode is deprecated, see the documentation\n', faults);
  const devices = vram.devices.filter((device) => String(device.index) !== missing);
  const value = (flag: string): string | undefined => {
    const word = argv.find((one) => one.startsWith(`${flag}=`));
    return word?.slice(flag.length + 1);
  };
  const style = (value('--format') ?? 'csv').split(',');
  const wanted = new Set((value('--id') ?? value('-i') ?? '').split(',').filter((name) => name !== ''));
  const shown = devices.filter((one) => wanted.size === 0 || wanted.has(String(one.index)) || wanted.has(one.uuid));
  const gpus = value('--query-gpu');
  const processes = value('--query-compute-apps');
  if (gpus !== undefined) {
    rows(
      gpus,
      style,
      shown.map((device) => (field) => gpuField(vram, device, field, faults)),
      faults,
    );
  } else if (processes !== undefined) {
    rows(processes, style, processRows(vram, shown, faults), faults);
  } else if (argv.includes('-L')) {
    for (const device of shown) process.stdout.write(`GPU ${device.index}: ${nameOf(device)} (UUID: ${device.uuid})\n`);
  } else {
    fail(`fake nvidia-smi: only --query-gpu, --query-compute-apps and -L are simulated, not: ${argv.join(' ')}`, 6);
  }
  if (faults.has('warnings')) emit('WARNING: infoROM is corrupted at gpu 0000:01:00.0\n', faults);
}

function emit(text: string, faults: Map<string, string>): void {
  process.stdout.write(faults.has('crlf') ? text.replaceAll('\n', '\r\n') : text);
}

/** Output without end, as fast as it is taken. */
function flood(): void {
  while (process.stdout.write(`${'0, GPU-flood, 24576 MiB, '.repeat(200)}\n`)) continue;
  process.stdout.once('drain', flood);
}

type Cell = { readonly text: string; readonly unit?: string };
type Row = (field: string) => Cell | undefined;

function rows(query: string, style: readonly string[], all: readonly Row[], faults: Map<string, string>): void {
  const fields = query.split(',').map((field) => field.trim());
  const units = !style.includes('nounits');
  const lines: string[] = [];
  if (!style.includes('noheader')) {
    lines.push(fields.map(heading).join(', '));
  }
  for (const row of all) {
    const cells = fields.map((field) => {
      const cell = row(field);
      if (cell === undefined) fail(`Field "${field}" is not a valid field to query.\n`, 2);
      return units && cell.unit !== undefined && /^\d/.test(cell.text) ? `${cell.text} ${cell.unit}` : cell.text;
    });
    lines.push(cells.join(', '));
  }
  if (lines.length > 0) emit(`${lines.join('\n')}\n`, faults);
}

/** The unit stands in the header even where the cells leave it out; processes have the longer name of the field. */
function heading(field: string): string {
  if (field === 'used_memory') return 'used_gpu_memory [MiB]';
  return field.includes('memory') ? `${field} [MiB]` : field;
}

function gpuField(vram: FakeVram, device: FakeDevice, field: string, faults: Map<string, string>): Cell | undefined {
  const used = Math.round(usedMib(vram, device));
  const split = faults.has('mig') && device === vram.devices[0];
  const number = (value: number, unit: string): Cell => {
    if (isUnknown(device, faults)) return { text: '[N/A]' };
    if (faults.has('localised')) return { text: `${value},0`, unit };
    return faults.has('err') ? { text: 'ERR!' } : { text: String(value), unit };
  };
  switch (field) {
    case 'index':
      return { text: String(device.index) };
    case 'uuid':
    case 'gpu_uuid':
      return { text: device.uuid };
    case 'name':
    case 'gpu_name':
      return { text: nameOf(device) };
    case 'memory.total':
      return number(device.total_mib, 'MiB');
    case 'memory.used':
      if (split) return { text: '[Insufficient Permissions]' };
      return number(used, 'MiB');
    case 'memory.free':
      return number(Math.max(0, Math.round(device.total_mib) - used), 'MiB');
    case 'memory.reserved':
      return number(0, 'MiB');
    case 'utilization.gpu':
    case 'utilization.memory':
      return number(0, '%');
    case 'temperature.gpu':
      return number(40, '');
    case 'power.draw':
    case 'power.limit':
      return number(100, 'W');
    case 'driver_version':
      return { text: '580.95.05' };
    case 'compute_cap':
      return { text: '9.0' };
    case 'pci.bus_id':
      return { text: `00000000:0${device.index}:00.0` };
    case 'mig.mode.current':
      return { text: split ? 'Enabled' : '[N/A]' };
    case 'compute_mode':
      return { text: 'Default' };
    case 'persistence_mode':
      return { text: 'Enabled' };
    case 'count':
      return { text: String(vram.devices.length) };
    default:
      return undefined;
  }
}

function isUnknown({ index }: FakeDevice, faults: Map<string, string>): boolean {
  const of = faults.get('na');
  return of === '' || of === String(index);
}

function processRows(vram: FakeVram, devices: readonly FakeDevice[], faults: Map<string, string>): Row[] {
  const found: Row[] = [];
  for (const [key, claim] of Object.entries(vram.claims)) {
    // What waits to be released is held by nobody the driver can name; what it cannot see it does not name either.
    const pid = pidOf(key, claim);
    if (claim.until !== undefined || pid === undefined) continue;
    for (const device of devices) {
      const mib = claim.mib[device.uuid];
      if (mib === undefined) continue;
      found.push((field) => {
        switch (field) {
          case 'pid':
            return { text: String(pid) };
          case 'used_memory':
          case 'used_gpu_memory':
            return isUnknown(device, faults) ? { text: '[N/A]' } : { text: String(Math.round(mib)), unit: 'MiB' };
          case 'gpu_uuid':
            return { text: device.uuid };
          case 'gpu_name':
            return { text: nameOf(device) };
          case 'process_name':
          case 'name':
            return { text: 'VLLM::EngineCore' };
          default:
            return undefined;
        }
      });
    }
  }
  return found;
}

function nameOf(device: FakeDevice): string {
  return device.name ?? 'NVIDIA Simulated GPU';
}

function fail(message: string, code: number): never {
  process.stdout.write(`${message}\n`);
  process.exit(code);
}

main(process.argv.slice(2));
