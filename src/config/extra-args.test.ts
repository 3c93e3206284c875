import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ownedFlags } from './extra-args.ts';
import { mergeArgs } from './merge-args.ts';

const refused = (...extra: readonly string[]): readonly number[] => ownedFlags(extra, true).map(({ index }) => index);

describe('[item 9] [B185] flags that the gateway owns', () => {
  it.each([
    ['--model', 'x'],
    ['--served-model-name', 'x'],
    ['--host', '0.0.0.0'],
    ['--port', '1'],
    ['--uds', '/x'],
    ['--api-key', 'x'],
    ['--gpu-memory-utilization', '0.99'],
    ['--tensor-parallel-size', '2'],
    ['--kv-cache-memory-bytes', '1'],
    ['--root-path', '/x'],
    ['--ssl-keyfile', 'x'],
    ['--ssl-cert-reqs', 'x'],
    ['--device-ids', '0'],
    ['--config', 'x.yaml'],
    ['--pipeline-parallel-size', '2'],
    ['--data-parallel-size', '2'],
    ['--data-parallel-external-lb', ''],
    ['--shutdown-timeout', '9'],
    ['--api-server-count', '2'],
  ])('refuses %s in every spelling', (flag, value) => {
    expect(refused(flag, value)).toEqual([0]);
    expect(refused(`${flag}=${value}`)).toEqual([0]);
    expect(refused(flag.replaceAll(/(?<!-|^)-/g, '_'), value)).toEqual([0]);
    expect(refused(`${flag.replaceAll(/(?<!-|^)-/g, '_')}=${value}`)).toEqual([0]);
    expect(refused('--enable-prefix-caching', '--seed', '-1', flag, value)).toEqual([3]);
  });

  it.each([
    '-tp',
    '-tp=2',
    '-tp2',
    '-pp',
    '-dp',
    '-dpn',
    '-n',
    '-r',
    '-asc',
    '-h',
    '--disable-log-stats',
    '--disable_log_stats',
    '--headless',
  ])('refuses %s', (flag) => {
    expect(refused(flag)).toEqual([0]);
  });

  it.each([
    '--gpu-mem',
    '--gpu_memory',
    '--tensor-par',
    '--served',
    '--serv',
    '--mod',
    '--por',
    '--hos',
    '--kv-cache-memory',
    '--kv-cache-mem',
    '--conf',
    '--max-model',
    '--max-num-s',
  ])('refuses %s, which the parser of the engine takes for the whole flag', (flag) => {
    expect(refused(flag, '1')).toEqual([0]);
  });

  it('refuses every beginning of an owned flag, however short [I-47]', () => {
    const flag = '--gpu-memory-utilization';
    for (let length = 3; length <= flag.length; length += 1) expect(refused(flag.slice(0, length), '1')).toEqual([0]);
  });

  it.each([
    '--model-impl',
    '--config-format',
    '--hf-config-path',
    '--tokenizer',
    '--max-num-batched-tokens',
    '--enable-prefix-caching',
    '--no-enable-prefix-caching',
    '--reasoning-parser',
    '--quantization',
    '-q',
    '-O3',
    '-cc.mode=3',
    '--compilation-config.mode=3',
    '--kv-transfer-config',
    '--limit-mm-per-prompt',
    '--enable-lora',
  ])('lets %s pass', (flag) => {
    expect(refused(flag)).toEqual([]);
  });

  it('leaves lengths, sequences and KV type to the user outside budget mode', () => {
    const extra = [
      '--max-model-len',
      '4096',
      '--max-num-seqs=3',
      '--kv_cache_dtype',
      'fp8',
      '--num-gpu-blocks-override',
      '9',
    ];
    expect(ownedFlags(extra, false)).toEqual([]);
    expect(refused(...extra)).toEqual([0, 2, 3, 5]);
  });

  it('does not take values for flags', () => {
    expect(refused('--seed', '-1', '--chat-template', 'port', '--override-generation-config={"model": "-tp"}')).toEqual(
      [],
    );
  });

  it('says which key does the same', () => {
    expect(ownedFlags(['-tp', '2'], true)[0]?.message).toBe(
      '-tp (short for --tensor-parallel-size) belongs to the gateway: use the key tensor_parallel_size',
    );
  });
});

describe('[item 10] arguments of the user', () => {
  const generated = [
    'serve',
    'a/b',
    '--port',
    '1',
    '--max-num-seqs',
    '16',
    '--enforce-eager',
    '--dtype=auto',
    '--quantization',
    'awq',
  ];

  it('stand behind the generated ones', () => {
    expect(mergeArgs(generated, ['--seed', '3'])).toEqual([...generated, '--seed', '3']);
    expect(mergeArgs(generated, [])).toEqual(generated);
  });

  it.each([
    [
      ['--max-num-seqs', '4'],
      ['--max-num-seqs', '16'],
    ],
    [['--max-num-seqs=4'], ['--max-num-seqs', '16']],
    [
      ['--max_num_seqs', '4'],
      ['--max-num-seqs', '16'],
    ],
    [
      ['--max-num-s', '4'],
      ['--max-num-seqs', '16'],
    ],
    [['--dtype', 'float16'], ['--dtype=auto']],
    [['--dtype=float16'], ['--dtype=auto']],
    [
      ['-q', 'gptq'],
      ['--quantization', 'awq'],
    ],
    [['--no-enforce-eager'], ['--enforce-eager']],
  ])('%o replace the generated flag in any spelling', (extra, gone) => {
    const result = mergeArgs(generated, extra);
    expect(result).toEqual([...generated.filter((argument) => !gone.includes(argument)), ...extra]);
    expect(result.slice(0, 2)).toEqual(['serve', 'a/b']);
  });

  it('never lose one of their own, and never touch what stands before the flags', () => {
    const argument = fc.constantFrom('--a', '--a=1', '--a-b', '--a_b', '-q', 'value', '1', '--no-a', '--c.d=1');
    fc.assert(
      fc.property(fc.array(argument, { maxLength: 8 }), fc.array(argument, { maxLength: 8 }), (left, right) => {
        const result = mergeArgs(['serve', 'x', ...left], right);
        expect(result.slice(0, 2)).toEqual(['serve', 'x']);
        expect(right.length === 0 ? [] : result.slice(-right.length)).toEqual(right);
      }),
    );
  });
});
