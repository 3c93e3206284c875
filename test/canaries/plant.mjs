/**
 * Preloaded before the loader that compiles TypeScript: hands it one source file with a bug in it. The file on disk stays
 * as it is. `VLLM_GATEWAY_CANARY`: `{ file, find, replace }`; without it nothing changes.
 */
import { register } from 'node:module';
import { MessageChannel } from 'node:worker_threads';

const { port1, port2 } = new MessageChannel();
port1.unref();
/** One message is there once the bug has been handed out. */
export const planted = port1;

const said = process.env.VLLM_GATEWAY_CANARY;
if (said) {
  const data = { ...JSON.parse(said), root: new URL('../../', import.meta.url).href, port: port2 };
  register('./plant-hook.mjs', { parentURL: import.meta.url, data, transferList: [port2] });
}
