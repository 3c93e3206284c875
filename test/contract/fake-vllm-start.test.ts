import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { accepts, type FakeEngine, type FakeExit, freePort, launchFake, startFake } from '../support/fake-vllm.ts';

/** Launches, waits for the end, gives exit and output. */
async function ends(fault: string, flags: readonly string[] = [], port?: number): Promise<FakeExit & { text: string }> {
  await using engine = await launchFake({
    flags,
    env: { FAKE_VLLM_FAULT: fault },
    ...(port === undefined ? {} : { port }),
  });
  const exit = await engine.exit;
  return { ...exit, text: engine.output };
}

describe('the start of fake-vllm', () => {
  it('refuses connections until it is ready and prints the phases of 0.32 in order', async () => {
    await using engine = await launchFake({ env: { FAKE_VLLM_START_MS: '200' } });
    await engine.said('Loading safetensors checkpoint shards');
    expect(await accepts(engine.port)).toBe(false);
    await engine.ready();
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
    const marks = [
      'version 0.32.0',
      'non-default args: {',
      'Resolved architecture: LlamaForCausalLM',
      'Using max model len 8192',
      'Initializing a V1 LLM engine (v0.32.0) with config:',
      'Starting to load model /models/tiny...',
      'Loading weights took ',
      'Model loading took 4.00 GiB memory and ',
      'torch.compile took ',
      'Available KV cache memory: ',
      'GPU KV cache size: 65,536 tokens, Maximum concurrency for 8,192 tokens per request: 8.00x',
      'Graph capturing finished in ',
      'init engine (profile, create kv cache, warmup model) took ',
      "Supported tasks: ['generate']",
      'Starting vLLM server on http://127.0.0.1:',
      'Route: /v1/chat/completions, Methods: POST',
    ];
    await engine.said('Application startup complete.');
    const places = marks.map((mark) => engine.output.indexOf(mark));
    expect(places).toEqual([...places].sort((left, right) => left - right));
    expect(places).not.toContain(-1);
    expect(engine.output).toContain('\rLoading safetensors checkpoint shards:  25% Completed | 1/4 [');
  });

  it('puts the label in front of every line and into owned_by', async () => {
    await using engine = await startFake({ env: { FAKE_VLLM_LABEL: '[simulated]' } });
    const models = (await (await fetch(`${engine.url}/v1/models`)).json()) as { data: { owned_by: string }[] };
    expect(models.data[0]?.owned_by).toBe('[simulated]');
    const lines = engine.output.split(/[\r\n]+/).filter((line) => line !== '');
    expect(lines.filter((line) => !line.startsWith('[simulated] '))).toEqual([]);
  });

  it('keeps logging numbered lines when asked to', async () => {
    await using engine = await startFake({ env: { FAKE_VLLM_LOG_EVERY_MS: '5' } });
    await engine.said('simulated line 7');
    expect(engine.output).toContain('simulated line 6\n');
  });

  it.each([
    ['crash_at:load', 1, 'Starting to load'],
    ['crash_at:engine:139', 139, 'Resolved architecture'],
    ['exit0_at:compile', 0, 'Model loading took'],
    ['oom_at_start', 1, 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.00 GiB'],
    [
      'kv_too_small',
      1,
      "To serve at least one request with the model's max seq len (8192), (1.00 GiB KV cache is needed",
    ],
    ['bad_model_files', 1, "Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/models/tiny'"],
    ['bad_model_files:weights', 1, 'RuntimeError: Cannot find any model weights with `/models/tiny`'],
    ['bad_arguments', 2, "error: argument --max-num-seqs: invalid int value: 'many'"],
    ['port_in_use', 1, 'OSError: [Errno 98] Address already in use'],
  ])('fails as scripted: %s', async (fault, code, text) => {
    const end = await ends(fault);
    expect(end).toMatchObject({ code, signal: null });
    if (!fault.startsWith('crash_at:load')) expect(end.text).toContain(text);
    else expect(end.text).not.toContain(text);
    if (fault === 'oom_at_start' || fault === 'kv_too_small') {
      expect(end.text).toContain(
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
      );
      expect(end.text.indexOf(text)).toBeLessThan(end.text.indexOf('Engine core initialization failed'));
    }
  });

  it.each([
    [['--no-such-flag'], 2, 'vllm: error: unrecognized arguments: --no-such-flag'],
    [['--max-num-seqs', 'many'], 2, "vllm serve: error: argument --max-num-seqs: invalid int value: 'many'"],
    [['--port'], 2, 'vllm serve: error: argument --port: expected one argument'],
    [['--enable-auto-tool-choice'], 1, 'TypeError: Error: --enable-auto-tool-choice requires --tool-call-parser'],
    [['--max-model-len', '999k'], 1, 'User-specified max_model_len (999000) is greater than the derived max_model_len'],
  ])('refuses %j', async (flags, code, text) => {
    const end = await ends('', flags);
    expect(end.code).toBe(code);
    expect(end.text).toContain(text);
  });

  it('takes spellings argparse takes', async () => {
    await using engine = await startFake({
      flags: [
        ...['--max_model_len=4K', '--served-model-name', 'a', 'b', '-tp', '2', '--no-enable-prefix-caching', '-O3'],
        ...['--kv-cache-memory', '1G', '--compilation-config.mode=none', '--enable-sleep-mode', '--seed', '-1'],
      ],
    });
    const models = (await (await fetch(`${engine.url}/v1/models`)).json()) as {
      data: { id: string; max_model_len: number }[];
    };
    expect(models.data.map(({ id, max_model_len }) => [id, max_model_len])).toEqual([
      ['a', 4096],
      ['b', 4096],
    ]);
  });

  it('ends with exit 1 when the port is taken, before it loads anything', async () => {
    const port = await freePort();
    const holder = createServer().listen(port, '127.0.0.1');
    await once(holder, 'listening');
    const end = await ends('', [], port);
    holder.close();
    expect(end.code).toBe(1);
    expect(end.text).toContain('OSError: [Errno 98] Address already in use');
    expect(end.text).not.toContain('Starting to load');
  });

  it('hangs in a phase without another line, and loads slowly when told to', async () => {
    await using hung = await launchFake({ env: { FAKE_VLLM_FAULT: 'hang_at:load' } });
    await using slow = await startFake({ env: { FAKE_VLLM_FAULT: 'slow_load:400' } });
    expect(slow.output).toMatch(/Loading weights took 0\.[4-9]\d seconds|Loading weights took [1-9]/);
    expect(hung.running).toBe(true);
    expect(hung.output).toContain('Initializing a V1 LLM engine');
    expect(hung.output).not.toContain('Starting to load model');
    expect(await accepts(hung.port)).toBe(false);
  });
});

describe('signals to fake-vllm', () => {
  const hangingAt = async (phase: string, said: string, fault = ''): Promise<FakeEngine> => {
    const env = { FAKE_VLLM_FAULT: `hang_at:${phase}${fault}`, FAKE_VLLM_START_MS: '100' };
    const engine = await launchFake({ env });
    if (said !== '') await engine.said(said);
    return engine;
  };

  it('kill it during the imports', async () => {
    await using engine = await launchFake({ env: { FAKE_VLLM_START_MS: '5000' } });
    // Its own reaction is installed within the first milliseconds; before, the kernel's is the same.
    process.kill(engine.pid, 'SIGTERM');
    expect(await engine.exit).toEqual({ code: null, signal: 'SIGTERM' });
  });

  it('interrupt it during the configuration, which ends by SIGINT', async () => {
    await using engine = await launchFake({ env: { FAKE_VLLM_START_MS: '12000', FAKE_VLLM_SPEED: '4' } });
    await engine.said('non-default args');
    process.kill(engine.pid, 'SIGTERM');
    expect(await engine.exit).toEqual({ code: null, signal: 'SIGINT' });
    expect(engine.output).toContain('KeyboardInterrupt: terminated');
  });

  it('are lost while EngineCore starts: it becomes ready all the same', async () => {
    await using engine = await launchFake({ env: { FAKE_VLLM_FAULT: 'slow_load:200' } });
    await engine.said('Starting to load model');
    process.kill(engine.pid, 'SIGTERM');
    await engine.ready();
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
  });

  it('are lost everywhere, or ignored for ever, when scripted', async () => {
    await using lost = await hangingAt('config', 'non-default args', ',sigterm_lost_during_start');
    await using deaf = await startFake({ env: { FAKE_VLLM_FAULT: 'sigterm_ignored' } });
    process.kill(lost.pid, 'SIGTERM');
    process.kill(deaf.pid, 'SIGTERM');
    expect((await fetch(`${deaf.url}/health`)).status).toBe(200);
    await using third = await startFake();
    expect([lost.running, deaf.running, third.running]).toEqual([true, true, true]);
  });

  it('end an idle engine with exit 0, and with --shutdown-timeout only after all of it', async () => {
    await using idle = await startFake();
    await using drains = await startFake({ flags: ['--shutdown-timeout', '1'] });
    const begun = performance.now();
    process.kill(drains.pid, 'SIGTERM');
    process.kill(idle.pid, 'SIGTERM');
    expect(await idle.exit).toEqual({ code: 0, signal: null });
    expect(drains.running).toBe(true);
    expect(await drains.exit).toEqual({ code: 0, signal: null });
    expect(performance.now() - begun).toBeGreaterThan(1000);
  });

  it.each([
    ['die_at_ready_after:1', { code: 1, signal: null }],
    ['die_at_ready_after:1:0', { code: 0, signal: null }],
    ['die_at_ready_after:1:SIGKILL', { code: null, signal: 'SIGKILL' }],
  ])('need not come for it to die once ready: %s', async (fault, exit) => {
    await using engine = await launchFake({ env: { FAKE_VLLM_FAULT: fault } });
    expect(await engine.exit).toEqual(exit);
    expect(engine.output).toContain('Application startup complete.');
  });
});
