/** `status`: what the gateway is doing, once or again and again. */
import { statusAnswer } from '../../admin/contract.ts';
import { SECOND } from '../../units.ts';
import type { Milliseconds } from '../../units.ts';
import type { GatewayClient } from '../client.ts';
import { renderStatus } from '../render-status.ts';
import { EXIT } from '../world.ts';
import type { World } from '../world.ts';

const WATCH_EVERY: Milliseconds = SECOND;
/** Home, then clear to the end of the screen: without the flicker of clearing first. */
const HOME = '\u001b[H';
const CLEAR_BELOW = '\u001b[J';
const CLEAR_RIGHT = '\u001b[K';

export interface StatusFlags {
  readonly watch?: boolean;
  readonly json?: boolean;
}

export async function showStatus(world: World, client: GatewayClient, flags: StatusFlags): Promise<number> {
  const { out, platform, outputGone } = world;
  if (flags.watch && out.isTerminal && !flags.json) out.write(`${HOME}${CLEAR_BELOW}`);
  while (!outputGone.aborted) {
    const { value, text } = await client.json('/gateway/status', statusAnswer);
    const now = platform.clock.wall();
    if (flags.json) out.write(`${text.trimEnd()}\n`);
    else if (flags.watch && out.isTerminal) {
      const screen = renderStatus(value, client.url, now, out).replaceAll('\n', `${CLEAR_RIGHT}\n`);
      out.write(`${HOME}${screen}${CLEAR_BELOW}`);
    } else out.write(renderStatus(value, client.url, now, out));
    if (!flags.watch) break;
    await platform.clock.sleep(WATCH_EVERY, outputGone).catch(() => undefined);
  }
  return EXIT.done;
}
