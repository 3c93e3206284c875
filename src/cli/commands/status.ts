/** `status`: what the gateway is doing, once or as it changes. */
import { statusAnswer } from '../../admin/contract.ts';
import type { GatewayClient } from '../client.ts';
import { renderStatus } from '../render-status.ts';
import { watchStatus } from '../watch/watch-status.ts';
import { EXIT } from '../world.ts';
import type { World } from '../world.ts';

export interface StatusFlags {
  readonly watch?: boolean;
  readonly json?: boolean;
}

export async function showStatus(world: World, client: GatewayClient, flags: StatusFlags): Promise<number> {
  if (flags.watch) return watchStatus(world, client, flags.json === true);
  const { out, platform } = world;
  const { value, text } = await client.json('/gateway/status', statusAnswer);
  out.write(flags.json ? `${text.trimEnd()}\n` : renderStatus(value, client.url, platform.clock.wall(), out));
  return EXIT.done;
}
