import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isCached, remember } from './fetched.ts';

/**
 * A pretended download of a model's files, in the words of the program that fetches them.
 *
 * `FAKE_VLLM_FETCH_MS` is how long it takes, `FAKE_VLLM_FETCH_FAULT` what goes wrong: `hang` (in its middle, not another
 * line), `slow:MS` (so much longer), `fail[:gated|disk|network|gone]`.
 */
const FAILURES: Readonly<Record<string, string>> = {
  gated: 'GatedRepoError: 401 Client Error. Access to model REPO is restricted.',
  disk: 'No space left on device: 16.1 GB are still to be fetched and 2.0 GB are free',
  network: 'ConnectError: the hub cannot be reached and the cache has nothing of REPO',
  gone: 'RepositoryNotFoundError: 404 Client Error. Repository Not Found for REPO',
};
const STEPS = 20;

export async function fetchModel(repo: string, env: NodeJS.ProcessEnv): Promise<number> {
  process.on('SIGTERM', () => process.exit(143));
  const [fault = '', argument = ''] = (env['FAKE_VLLM_FETCH_FAULT'] ?? '').split(':');
  const speed = Number(env['FAKE_VLLM_SPEED'] ?? '1') || 1;
  const time = (Number(env['FAKE_VLLM_FETCH_MS'] ?? '0') + (fault === 'slow' ? Number(argument) : 0)) / speed;
  const folder = env['FAKE_VLLM_CACHE_DIR'];
  const done = folder !== undefined && isCached(folder, repo);
  for (let step = 0; step < STEPS && !done; step += 1) {
    if (fault === 'hang' && step === STEPS / 2) await new Promise(() => setInterval(() => undefined, 60_000));
    if (fault === 'fail' && step === STEPS / 2) {
      say((FAILURES[argument === '' ? 'gated' : argument] ?? argument).replace('REPO', repo));
      return 1;
    }
    say(`Downloading 4 files: ${String((step * 100) / STEPS).padStart(3)}%| ${step}.00G/${STEPS}.00G`);
    if (time > 0) await sleep(time / STEPS);
  }
  if (folder !== undefined) remember(folder, repo);
  say(`Downloading 4 files: 100%| ${STEPS}.00G/${STEPS}.00G`);
  return 0;
}

function say(text: string): void {
  writeSync(1, `${text}\n`);
}
