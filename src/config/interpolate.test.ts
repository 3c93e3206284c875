import { describe, expect, it } from 'vitest';
import { load } from '../../test/support/load-config.ts';
import { interpolate } from './interpolate.ts';

const env = { NAME: 'value', EMPTY: '', N: '8', TRICKY: '${OTHER} $${X} # : {"a": [1]}', OTHER: 'never' };

describe('interpolation', () => {
  it.each([
    ['${NAME}', 'value'],
    ['a ${NAME} b ${N}', 'a value b 8'],
    ['${MISSING:-default}', 'default'],
    ['${EMPTY:-default}', 'default'],
    ['${MISSING:-}', ''],
    ['${MISSING:-a:-b $ c}', 'a:-b $ c'],
    ['${NAME:-default}', 'value'],
    ['$${NAME}', '${NAME}'],
    ['$$${NAME}', '$${NAME}'],
    ['$NAME $ {NAME} }', '$NAME $ {NAME} }'],
    ['${TRICKY}', env.TRICKY],
  ])('reads %s as %s', (written, read) => {
    expect(interpolate(written, env, false)).toMatchObject({ text: read, complaints: [] });
  });

  it('puts a value in once: what came from the environment is not read again', async () => {
    const { config } = await load('models: { m: { url: "http://h:1", description: "${TRICKY}" } }', {
      env: { TRICKY: env.TRICKY },
    });
    expect(config?.models.get('m')?.description).toBe(env.TRICKY);
  });

  it.each([
    ['${MISSING}', 'unset_variable'],
    ['${EMPTY}', 'unset_variable'],
    ['${NAME', 'interpolation'],
    ['${}', 'interpolation'],
    ['${Mixed}', 'interpolation'],
    ['${NAME-default}', 'interpolation'],
    ['${port}', 'interpolation'],
  ])('[B187] complains about %s', (written, code) => {
    expect(interpolate(written, env, false).complaints.map((found) => found.code)).toEqual([code]);
  });

  it('leaves engine templates to the launch, where an engine is described', async () => {
    const { config, lines } = await load(
      `
models:
  m:
    driver: process
    command: [server, "--port=\${port}", "--host=\${host}", "\${model}", "\${repo}", "\${NAME}", "$\${port}", "$\${NAME}"]
    env: { DEVICES: "\${devices}" }
    health_path: "/\${model}/health"
    max_model_len: 1
`,
      { env },
    );
    expect(lines).toEqual([]);
    expect(config?.models.get('m')).toMatchObject({
      // An escaped template stays escaped: the launch undoes it.
      command: ['server', '--port=${port}', '--host=${host}', '${model}', '${repo}', 'value', '$${port}', '${NAME}'],
      env: { DEVICES: '${devices}' },
      healthPath: '/${model}/health',
    });
  });

  it('lets text from the environment be whatever the key holds', async () => {
    const { config, lines } = await load(
      `
limits: { max_queue_size: "\${Q}", queue_timeout: "\${T}", max_concurrent: "\${C}" }
server: { max_body_size: "\${B}" }
defaults: { url: "http://\${H}:1" }
models:
  m:
    unlisted: \${YES}
    description: \${Q}
    extra_args: ["--n", "\${Q}"]
    kv_reservation_seqs: \${NOTHING:-null}
    request_defaults:
      n: \${Q}
      s: "\${Q}"
      flag: \${YES}
      list: ["\${Q}", 60]
    driver: external
`,
      { env: { Q: '60', T: '90s', C: 'auto', B: '2MiB', YES: 'true', H: 'gpu' } },
    );
    expect(lines.filter((line) => !line.includes('extra_args'))).toEqual([]);
    expect(config?.limits).toMatchObject({ maxQueueSize: 60, queueTimeout: 90_000 });
    expect(config?.server.maxBodySize).toBe(2 * 1024 ** 2);
    const model = config?.models.get('m');
    expect(model).toMatchObject({
      url: 'http://gpu:1',
      unlisted: true,
      description: '60',
      extraArgs: ['--n', '60'],
      kvReservationSeqs: null,
    });
    // Free-form values have the types that they would have had without the variable.
    expect(Object.fromEntries(model?.requestDefaults ?? [])).toEqual({
      n: '60',
      s: '"60"',
      flag: 'true',
      list: '["60",60]',
    });
  });

  it('cannot add structure to a file', async () => {
    const block = await load('models:\n  m:\n    url: http://h:1\n    request_defaults:\n      a: ${X}\n', {
      env: { X: '1\nb: 2' },
    });
    expect(block.config?.models.get('m')?.requestDefaults.get('a')).toBe('"1\\nb: 2"');
  });

  it('says what is missing when a variable stands bare between braces', async () => {
    const { lines } = await load('limits: { max_turn: ${T}, max_queue_size: ${Q} }\nmodels: { m: { repo: a/b } }');
    expect(lines).toEqual(['error gateway.yaml:1:22: between { } or [ ] a variable needs quotes, as in "${NAME}"']);
  });

  it('names the variable and the place, and not the same mistake twice', async () => {
    const { lines } = await load('models:\n  m:\n    repo: ${REPO}\n    url: http://h:1\n');
    expect(lines).toEqual([
      'error gateway.yaml:3:11: models.m.repo: the variable REPO is not set; set it, or write a default as ${REPO:-value}, or $${REPO} for the literal text',
    ]);
  });
});
