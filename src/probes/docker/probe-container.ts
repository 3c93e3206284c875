/** The helper container: made, started and attached to; and everything that carries its label removed again. */
import { addAbortSignal, type Readable } from 'node:stream';
import type Docker from 'dockerode';
import type { DockerSettings } from '../../config/config.ts';
import type { Platform } from '../../platform/platform.ts';
import { KIB, MINUTE, SECOND, type Milliseconds } from '../../units.ts';
import { excerpt, ProbeError } from '../reading/probe-error.ts';
import { CALL_LIMIT, type DockerConnection, DockerRefusal } from './docker-connection.ts';
import { PROBE_SCRIPT, ProbeStream } from './probe-stream.ts';

/** Marks the helper; its value is the id of the gateway. Engines carry another one, so neither is taken for the other. */
export const PROBE_LABEL = 'vllm-gateway.probe';

const PULL_LIMIT: Milliseconds = 30 * MINUTE;
/** A pull that says nothing for so long has failed. */
const PULL_SILENCE: Milliseconds = 2 * MINUTE;
const LINE_LIMIT = 64 * KIB;
const REMOVED_PERIOD: Milliseconds = 200;

export interface ContainerOptions {
  readonly platform: Platform;
  readonly docker: DockerSettings;
  readonly gatewayId: string;
  readonly connection: DockerConnection;
}

export interface ProbeContainer {
  readonly id: string;
  readonly stream: ProbeStream;
}

type Requests = readonly Docker.DeviceRequest[];

/** `say` is told what is being done, for whoever waits. @throws ProbeError */
export async function startContainer(
  options: ContainerOptions,
  signal: AbortSignal,
  say: (phase: string) => void,
): Promise<ProbeContainer> {
  say('removing what an earlier run left');
  await removeContainers(options, signal);
  await ensureImage(options, signal, say);
  say('starting');
  const tries = deviceRequests(options.docker.gpus);
  for (const [index, requests] of tries.entries()) {
    try {
      return await launch(options, requests, signal);
    } catch (error) {
      if (index === tries.length - 1 || !isNoGpus(error)) throw explained(error);
    }
  }
  throw new ProbeError('there is no way to hand GPUs to a container');
}

/** All that carry this gateway's label, until the daemon knows none. @throws ProbeError */
export async function removeContainers(options: ContainerOptions, signal?: AbortSignal): Promise<void> {
  const { connection, platform } = options;
  const given = signal === undefined ? {} : { signal };
  const end = platform.clock.monotonic() + CALL_LIMIT;
  for (;;) {
    const left = await connection.call(
      'listing helper containers',
      (docker, abortSignal) =>
        docker.listContainers({ all: true, filters: { label: [`${PROBE_LABEL}=${options.gatewayId}`] }, abortSignal }),
      given,
    );
    if (left.length === 0) return;
    if (platform.clock.monotonic() > end) throw new ProbeError('its old helper container cannot be removed');
    for (const { Id } of left) {
      await connection
        .call(
          'removing a helper container',
          (docker, abortSignal) => docker.getContainer(Id).remove({ force: true, v: true, abortSignal }),
          given,
        )
        // Gone meanwhile, or about to be: the next list tells.
        .catch(ignoring(404, 409));
    }
    await platform.clock.sleep(REMOVED_PERIOD, signal);
  }
}

export async function hasImage(
  { connection, docker: { probeImage } }: ContainerOptions,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    await connection.call(
      `looking for ${probeImage}`,
      // Its types know no argument.
      (docker, abortSignal) => docker.getImage(probeImage).inspect({ abortSignal } as object),
      signal === undefined ? {} : { signal },
    );
    return true;
  } catch (error) {
    ignoring(404)(error);
    return false;
  }
}

async function ensureImage(
  options: ContainerOptions,
  signal: AbortSignal,
  say: (phase: string) => void,
): Promise<void> {
  if (await hasImage(options, signal)) return;
  const { connection, platform, docker: settings } = options;
  const image = settings.probeImage;
  say(`pulling ${image}`);
  const silence = new AbortController();
  const hush = (): Disposable =>
    platform.clock.after(PULL_SILENCE, () => {
      silence.abort();
    });
  let timer = hush();
  try {
    await connection.call(
      `pulling ${image}`,
      async (docker, abort) => {
        const stream = (await docker.pull(image, { abortSignal: abort })) as Readable;
        // Its messages are read here: the client takes a pull for done that ended with an error.
        for await (const error of pullErrors(addAbortSignal(abort, stream))) {
          if (error !== null) throw new ProbeError(`pulling ${image}: ${excerpt(error)}`);
          timer[Symbol.dispose]();
          timer = hush();
        }
      },
      { limit: PULL_LIMIT, signal: AbortSignal.any([signal, silence.signal]) },
    );
  } catch (error) {
    if (!silence.signal.aborted) throw error;
    throw new ProbeError(`pulling ${image}: no progress for ${PULL_SILENCE / SECOND} s`);
  } finally {
    timer[Symbol.dispose]();
  }
}

/** One item per message of a pull: its error, or null (Engine API, "create an image": JSON lines). */
async function* pullErrors(stream: Readable): AsyncGenerator<string | null> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop()?.slice(0, LINE_LIMIT) ?? '';
    for (const line of lines) yield errorOf(line);
  }
  if (rest !== '') yield errorOf(rest);
}

function errorOf(line: string): string | null {
  try {
    const { error } = JSON.parse(line) as { readonly error?: unknown };
    return typeof error === 'string' ? error : null;
  } catch {
    // No message at all; whether the image is there afterwards is what counts.
    return null;
  }
}

async function launch(options: ContainerOptions, requests: Requests, signal: AbortSignal): Promise<ProbeContainer> {
  const { connection, platform } = options;
  const { name, ...body } = createBody(options, requests);
  // Not cut off by the signal: what the daemon has begun to make it makes, and then it must be known here.
  const container = await connection.call('creating the helper container', (docker, abortSignal) =>
    docker.createContainer({ ...{ _query: { name }, _body: body }, abortSignal }),
  );
  try {
    if (signal.aborted) throw new ProbeError('creating the helper container: given up');
    // Before the start: a client that is there from the beginning is the one whose leaving ends the helper's input.
    const attached = await connection.call(
      'attaching to the helper container',
      (_docker, abortSignal) =>
        container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true, abortSignal }),
      { signal },
    );
    const stream = new ProbeStream(platform.clock, attached as unknown as ConstructorParameters<typeof ProbeStream>[1]);
    try {
      await connection.call(
        'starting the helper container',
        (_docker, abortSignal) => container.start({ abortSignal }),
        { signal },
      );
    } catch (error) {
      stream.destroy();
      throw error;
    }
    return { id: container.id, stream };
  } catch (error) {
    await connection
      .call('removing the helper container', (_docker, abortSignal) =>
        container.remove({ force: true, v: true, abortSignal }),
      )
      .catch(() => {
        // Found by its label at the next start.
      });
    throw error;
  }
}

function createBody(
  { docker, gatewayId, platform }: ContainerOptions,
  requests: Requests,
): Docker.ContainerCreateOptions {
  return {
    name: `vllm-gateway-probe-${platform.random.hex(8)}`,
    Image: docker.probeImage,
    Labels: { [PROBE_LABEL]: gatewayId },
    Entrypoint: ['sh', '-c', PROBE_SCRIPT],
    Cmd: [],
    OpenStdin: true,
    // With the gateway its input ends, and so does the helper; AutoRemove does the rest.
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    HostConfig: {
      AutoRemove: true,
      // Processes of other containers are seen, by the numbers that the machine gives them.
      PidMode: 'host',
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      // Its readings go to the attached stream; a log of them would only grow.
      LogConfig: { Type: 'none', Config: {} },
      DeviceRequests: [...requests],
    },
  };
}

/** What to try, in order. `utility` is what makes the runtime put nvidia-smi into the container. */
function deviceRequests(gpus: DockerSettings['gpus']): readonly Requests[] {
  const nvidia: Requests = [{ Driver: 'nvidia', Count: -1, Capabilities: [['gpu', 'utility']] }];
  const cdi: Requests = [{ Driver: 'cdi', DeviceIDs: ['nvidia.com/gpu=all'] }];
  const all = { none: [[]], nvidia: [nvidia], cdi: [cdi], auto: [nvidia, cdi] };
  return all[gpus];
}

/** The daemon knows no such way to GPUs, or finds none behind it. */
function isNoGpus(error: unknown): boolean {
  return (
    error instanceof DockerRefusal &&
    /could not select device driver|unresolvable CDI devices|CDI device injection failed|nvidia-container-cli: (initialization error|device error)/i.test(
      error.message,
    )
  );
}

function explained(error: unknown): unknown {
  if (!isNoGpus(error) || !(error instanceof DockerRefusal)) return error;
  return new DockerRefusal(`Docker cannot hand GPUs to containers: ${error.message}`, error.status, true);
}

function ignoring(...statuses: readonly number[]): (error: unknown) => void {
  return (error) => {
    if (error instanceof DockerRefusal && error.status !== null && statuses.includes(error.status)) return;
    throw error;
  };
}
