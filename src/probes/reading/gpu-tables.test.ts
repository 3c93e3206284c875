import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MIB } from '../../units.ts';
import { gpuQuery, PROCESS_QUERY, refusesMig, toReading, type QueryOutput } from './gpu-tables.ts';
import { ProbeError } from './probe-error.ts';

const HEADER = 'uuid, memory.total [MiB], memory.used [MiB], driver_version, mig.mode.current, name';
const APPS = 'gpu_uuid, pid, used_gpu_memory [MiB]';
const ROW_A = 'GPU-a, 24564 MiB, 512 MiB, 580.95.05, [N/A], NVIDIA GeForce RTX 4090';
const ROW_B = 'GPU-b, 81920 MiB, 0 MiB, 580.95.05, Disabled, NVIDIA A100-SXM4-80GB';
const NO_NAMES = new Map<string, string>();

const output = (text: string, code: number | null = 0, errors = ''): QueryOutput => ({ text, errors, code });
const gpus = (...lines: readonly string[]): QueryOutput => output(`${[HEADER, ...lines].join('\n')}\n`);
const apps = (...lines: readonly string[]): QueryOutput => output(`${[APPS, ...lines].join('\n')}\n`);
const read = (from: QueryOutput, processes: QueryOutput | null = apps()): ReturnType<typeof toReading> =>
  toReading(from, processes, NO_NAMES);

/** The only device of a table with this row. */
function device(row: string): ReturnType<typeof toReading>['devices'][number] {
  const [only] = read(gpus(row)).devices;
  if (only === undefined) throw new Error('no device');
  return only;
}

describe('the table of GPUs', () => {
  it('gives total and used per uuid, of every line [item 96]', () => {
    expect(read(gpus(ROW_A, ROW_B))).toEqual({
      devices: [
        {
          id: 'GPU-a',
          uuid: 'GPU-a',
          name: 'NVIDIA GeForce RTX 4090',
          totalBytes: 24_564 * MIB,
          usedBytes: 512 * MIB,
          trouble: null,
        },
        {
          id: 'GPU-b',
          uuid: 'GPU-b',
          name: 'NVIDIA A100-SXM4-80GB',
          totalBytes: 81_920 * MIB,
          usedBytes: 0,
          trouble: null,
        },
      ],
      processes: [],
      driverVersion: '580.95.05',
    });
  });

  it('[F78] keeps a device by its uuid, in whatever order they come', () => {
    const other = read(gpus(ROW_B, ROW_A)).devices.toReversed();
    expect(other).toEqual(read(gpus(ROW_A, ROW_B)).devices);
  });

  it('names devices as the configuration does', () => {
    const names = new Map([['GPU-b', 'big']]);
    const { devices, processes } = toReading(gpus(ROW_A, ROW_B), apps('GPU-b, 7, 100 MiB'), names);
    expect(devices.map(({ id, uuid }) => [id, uuid])).toEqual([
      ['GPU-a', 'GPU-a'],
      ['big', 'GPU-b'],
    ]);
    expect(processes).toEqual([{ deviceId: 'big', pid: 7, bytes: 100 * MIB }]);
  });

  it.each([
    '[N/A]',
    '[Not Supported]',
    '[Unknown Error]',
    '[Insufficient Permissions]',
    'ERR!',
    'N/A',
    'Unknown Error',
    '[GPU requires reset]',
  ])('[F75] takes %s for no number, and keeps the device with the reason', (word) => {
    const total = device(`GPU-a, ${word}, 512 MiB, 580.95.05, [N/A], NVIDIA GB10`);
    expect(total).toMatchObject({ uuid: 'GPU-a', name: 'NVIDIA GB10', totalBytes: 0, usedBytes: null });
    expect(total.trouble).toContain(word);
    const used = device(`GPU-a, 24564 MiB, ${word}, 580.95.05, [N/A], NVIDIA GB10`);
    expect(used).toMatchObject({ totalBytes: 24_564 * MIB, usedBytes: null });
    expect(used.trouble).toContain(word);
  });

  it('lets the trouble of one device leave the others alone', () => {
    const { devices } = read(gpus('GPU-x, [N/A], [N/A], 580.95.05, [N/A], [N/A]', ROW_A));
    expect(devices.map(({ uuid, trouble }) => [uuid, trouble === null])).toEqual([
      ['GPU-x', false],
      ['GPU-a', true],
    ]);
    expect(devices[0]?.name).toBeNull();
  });

  it('plans nothing on a device that is split into MIG instances', () => {
    const split = device('GPU-a, 81920 MiB, [Insufficient Permissions], 580.95.05, Enabled, NVIDIA A100');
    expect(split.trouble).toContain('MIG');
    expect(split.usedBytes).toBeNull();
  });

  it.each(['GPU is lost', '[GPU is lost]', 'GPU is lost.'])('tells a lost GPU by %j', (word) => {
    expect(device(`GPU-a, ${word}, ${word}, ${word}, ${word}, ${word}`).trouble).toBe('the GPU is lost');
    expect(read(gpus(ROW_B, `${word}, ${word}, ${word}, ${word}, ${word}, ${word}`)).devices).toHaveLength(1);
  });

  it.each([
    ['on standard output, with an error', 15, (line: string) => output(`${line}\n${HEADER}\n${ROW_B}\n`, 15)],
    ['between the rows, without one', 0, (line: string) => output(`${HEADER}\n${line}\n${ROW_B}\n`)],
    ['on standard error', 255, (line: string) => output(`${HEADER}\n${ROW_B}\n`, 255, `${line}\n`)],
  ] as const)('reads the others when one does not answer, told of it %s', (_where, _code, build) => {
    const line =
      'Unable to determine the device handle for GPU0: 0000:04:00.0: GPU is lost.  Reboot the system to recover';
    expect(read(build(line)).devices.map(({ uuid }) => uuid)).toEqual(['GPU-b']);
  });

  it('fails when none is left', () => {
    const line = 'Unable to determine the device handle for GPU 0000:04:00.0: Unknown Error';
    expect(() => read(output(`${line}\n`, 255))).toThrow(line);
    expect(() => read(output(`${HEADER}\n${line}\n`, 255))).toThrow(line);
    expect(() => read(output(`${HEADER}\n`))).toThrow('lists no GPU');
  });

  it('[F84] doubts a device that uses more than it has, and one that has nothing', () => {
    expect(device('GPU-a, 100 MiB, 101 MiB, 580.95.05, [N/A], X').trouble).toContain('more is used than there is');
    expect(device('GPU-a, 0 MiB, 0 MiB, 580.95.05, [N/A], X').trouble).toContain('0 MiB');
    expect(device('GPU-a, 100 MiB, 100 MiB, 580.95.05, [N/A], X').trouble).toBeNull();
  });

  it('[B203] reads a name with commas and quotes', () => {
    expect(device('GPU-a, 100 MiB, 1 MiB, 580.95.05, [N/A], "Acme, Inc. GPU, rev. 2"').name).toBe(
      'Acme, Inc. GPU, rev. 2',
    );
  });

  it('[F80] takes CRLF and warnings around the table', () => {
    const text = [
      'WARNING: something is deprecated',
      '',
      HEADER,
      ROW_A,
      'WARNING: infoROM is corrupted at gpu 0000:01:00.0',
      '',
    ];
    expect(read(output(text.join('\r\n'))).devices).toEqual(read(gpus(ROW_A)).devices);
    expect(read(output(['some notice of a wrapper', HEADER, ROW_A].join('\n'))).devices).toHaveLength(1);
  });

  it.each([
    ['an empty output', ''],
    ['blank lines', '\n\n  \n'],
    ['no header', `${ROW_A}\n`],
    [
      'a header with another order',
      `uuid, memory.used [MiB], memory.total [MiB], driver_version, mig.mode.current, name\n${ROW_A}`,
    ],
    ['a header without units', `uuid, memory.total, memory.used, driver_version, mig.mode.current, name\n${ROW_A}`],
    ['a header with other units', `${HEADER.replaceAll('MiB', 'GiB')}\n${ROW_A}`],
    [
      'a translated header',
      `uuid, mémoire.totale [Mio], mémoire.utilisée [Mio], driver_version, mig.mode.current, name\n${ROW_A}`,
    ],
    ['a page of HTML', '<html>\n<body>502</body>'],
    ['zero bytes', '\u0000\u0001 not csv at all ,,,\n'],
    ['a short row', `${HEADER}\nGPU-a, 100 MiB`],
    ['a row that was cut off', `${HEADER}\n${ROW_A}\nGPU-b, 8192`],
    ['decimal commas', `${HEADER}\nGPU-a, 24564,00 MiB, 512,00 MiB, 580.95.05, [N/A], X`],
    ['thousands with dots', `${HEADER}\nGPU-a, 24.564 MiB, 512 MiB, 580.95.05, [N/A], X`],
    ['thousands with commas', `${HEADER}\nGPU-a, 24,564 MiB, 512 MiB, 580.95.05, [N/A], X`],
    ['numbers without units', `${HEADER}\nGPU-a, 24564, 512, 580.95.05, [N/A], X`],
    ['other units', `${HEADER}\nGPU-a, 24 GiB, 512 MiB, 580.95.05, [N/A], X`],
    ['negative numbers', `${HEADER}\nGPU-a, 24564 MiB, -1 MiB, 580.95.05, [N/A], X`],
    ['numbers in words of science', `${HEADER}\nGPU-a, 1e9 MiB, 0 MiB, 580.95.05, [N/A], X`],
    ['absurd numbers', `${HEADER}\nGPU-a, 99999999999999999999 MiB, 0 MiB, 580.95.05, [N/A], X`],
    ['NaN', `${HEADER}\nGPU-a, NaN MiB, 0 MiB, 580.95.05, [N/A], X`],
    ['no spaces behind commas', `${HEADER.replaceAll(', ', ',')}\n${ROW_A.replaceAll(', ', ',')}`],
    ['one GPU twice', `${HEADER}\n${ROW_A}\n${ROW_A}`],
    ['a uuid with blanks', `${HEADER}\nGPU a, 100 MiB, 0 MiB, 580.95.05, [N/A], X`],
    ['control characters in a row', `${HEADER}\nGPU-a, 100 MiB, 0 MiB, 580.95.05, [N/A], \u001b[31mX`],
    ['an unknown line between rows', `${HEADER}\n${ROW_A}\nSegmentation fault\n${ROW_B}`],
  ])('refuses all of it for %s', (_what, text) => {
    expect(() => read(output(text))).toThrow(ProbeError);
  });

  it('says in its own words why it failed', () => {
    const nvml = 'Failed to initialize NVML: Driver/library version mismatch';
    expect(() => read(output(`${nvml}\nNVML library version: 570.1\n`, 18))).toThrow(`it exited with 18: ${nvml}`);
    expect(() => read(output('', 127, 'sh: nvidia-smi: not found\n'))).toThrow(
      'it exited with 127: sh: nvidia-smi: not found',
    );
    expect(() => read(output('', 0, 'cannot open display\n'))).toThrow('cannot open display');
    expect(() => read(output('No devices were found\n', 6))).toThrow('it exited with 6: No devices were found');
    expect(() => read(output('', null))).toThrow('it was killed');
    expect(() => read(output(`${HEADER}\n${ROW_A}\n`, 1))).toThrow('it exited with 1');
  });

  it('never lets more than a line of foreign text into its message', () => {
    const message = ((): string => {
      try {
        read(output(`${'x\u001b'.repeat(100_000)}\n`.repeat(2)));
        return '';
      } catch (error) {
        return String(error);
      }
    })();
    expect(message.length).toBeGreaterThan(20);
    expect(message.length).toBeLessThan(300);
    expect(message).not.toMatch(/[\u0000-\u001f]/);
  });

  it('[B203] gives whole numbers or a ProbeError, whatever is printed', () => {
    const cell = fc.oneof(
      fc.constantFrom('GPU-a', '1 MiB', '[N/A]', 'ERR!', 'Enabled', '580.95.05', '24,5 MiB', ''),
      fc.string(),
    );
    const line = fc.oneof(
      fc.constantFrom(HEADER, ROW_A, ROW_B, 'WARNING: x'),
      fc.array(cell, { maxLength: 7 }).map((cells) => cells.join(', ')),
    );
    const text = fc.array(line, { maxLength: 6 }).map((lines) => lines.join('\n'));
    const code = fc.constantFrom(0, 0, 0, 15, null);
    fc.assert(
      fc.property(text, text, code, code, (first, second, one, other) => {
        let reading;
        try {
          reading = toReading(output(first, one), output(second, other), NO_NAMES);
        } catch (error) {
          expect(error).toBeInstanceOf(ProbeError);
          return;
        }
        expect(reading.devices.length).toBeGreaterThan(0);
        for (const { totalBytes, usedBytes, trouble } of reading.devices) {
          expect(Number.isSafeInteger(totalBytes)).toBe(true);
          if (trouble === null)
            expect(usedBytes).toSatisfy((used: number) => Number.isSafeInteger(used) && used <= totalBytes);
          else expect(usedBytes).toBeNull();
        }
        for (const { pid, bytes } of reading.processes ?? [])
          expect([pid, bytes].every(Number.isSafeInteger)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('the table of processes', () => {
  const processes = (answer: QueryOutput | null, from = gpus(ROW_A, ROW_B)): unknown => read(from, answer).processes;

  it('gives bytes per process and device', () => {
    expect(processes(apps('GPU-a, 41, 300 MiB', 'GPU-b, 41, 200 MiB', 'GPU-b, 42, 100 MiB'))).toEqual([
      { deviceId: 'GPU-a', pid: 41, bytes: 300 * MIB },
      { deviceId: 'GPU-b', pid: 41, bytes: 200 * MIB },
      { deviceId: 'GPU-b', pid: 42, bytes: 100 * MIB },
    ]);
  });

  it('takes either name of the memory column, and the sentence for none', () => {
    expect(processes(output('gpu_uuid, pid, used_memory [MiB]\nGPU-a, 1, 2 MiB\n'))).toHaveLength(1);
    expect(processes(apps('No running processes found'))).toEqual([]);
  });

  it('adds up two entries of one process', () => {
    expect(processes(apps('GPU-a, 41, 300 MiB', 'GPU-a, 41, 20 MiB'))).toEqual([
      { deviceId: 'GPU-a', pid: 41, bytes: 320 * MIB },
    ]);
  });

  it('leaves out processes of GPUs that are not in the reading', () => {
    expect(processes(apps('GPU-gone, 41, 300 MiB', 'MIG-1, 42, 1 MiB'))).toEqual([]);
  });

  it.each(['GPU-a, 41, [N/A]', 'GPU-a, [N/A], 300 MiB', '[N/A], 41, 300 MiB', 'GPU-a, 41, [Insufficient Permissions]'])(
    'cannot tell processes apart with %j',
    (row) => {
      expect(processes(apps('GPU-b, 1, 2 MiB', row))).toBeNull();
    },
  );

  it('cannot tell processes apart when it is not answered', () => {
    expect(processes(output('[Not Supported]\n', 3))).toBeNull();
    expect(processes(null)).toBeNull();
  });

  it('does not believe that nobody holds what is held: processes of other pid namespaces are not shown', () => {
    const held = gpus('GPU-a, 24564 MiB, 20000 MiB, 580.95.05, [N/A], X');
    expect(processes(apps(), held)).toBeNull();
    expect(processes(apps('GPU-a, 9, 1 MiB'), held)).toHaveLength(1);
  });

  it.each([
    'GPU-a, 4x, 300 MiB',
    'GPU-a, -1, 300 MiB',
    'GPU-a, 0, 300 MiB',
    'GPU-a, 1, 300',
    'GPU-a, 1',
    'GPU-a, 1, 3,5 MiB',
  ])('refuses the whole reading for %j', (row) => {
    expect(() => processes(apps(row))).toThrow(ProbeError);
  });
});

describe('the queries', () => {
  it('leave out what old drivers refuse', () => {
    const refusal = output('Field "mig.mode.current" is not a valid field to query.\n', 2);
    expect(refusesMig(refusal)).toBe(true);
    expect(refusesMig(output('Field "uuid" is not a valid field to query.\n', 2))).toBe(false);
    expect(gpuQuery(true)).toContain('mig.mode.current');
    expect(gpuQuery(false)).not.toContain('mig');
    const without = output(`${HEADER.replace('mig.mode.current, ', '')}\nGPU-a, 100 MiB, 1 MiB, 440.33.01, Tesla T4\n`);
    expect(toReading(without, null, NO_NAMES, false).devices[0]).toMatchObject({ name: 'Tesla T4', usedBytes: MIB });
  });

  it('are single words: they pass through a shell', () => {
    for (const query of [gpuQuery(true), gpuQuery(false), PROCESS_QUERY]) expect(query).toMatch(/^--[\w.,=-]+$/);
  });
});
