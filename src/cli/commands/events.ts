/** `events`: what the gateway decided, and why. */
import { decisionEvent } from '../../admin/contract.ts';
import type { DecisionEvent } from '../../admin/contract.ts';
import { textOf } from '../client.ts';
import type { GatewayClient } from '../client.ts';
import { readEvents } from '../sse.ts';
import { CliError, EXIT } from '../world.ts';
import type { OutputStream, World } from '../world.ts';
import { lost } from './logs.ts';

/** The longest kind that is common. */
const KIND_WIDTH = 'replica.start_failed'.length;

export interface EventFlags {
  readonly follow?: boolean;
  readonly json?: boolean;
}

export async function showEvents(world: World, client: GatewayClient, flags: EventFlags): Promise<number> {
  const { out, err, outputGone } = world;
  const path = `/gateway/events${flags.follow ? '' : '?follow=false'}`;
  try {
    const response = await client.open(path, { headers: { 'last-event-id': '0' }, signal: outputGone });
    for await (const { event, data } of readEvents(textOf(response))) {
      if (event !== 'decision') continue;
      const decision = decisionEvent.safeParse(JSON.parse(data));
      // A newer gateway may send what this version does not know.
      if (decision.success) out.write(flags.json ? `${data}\n` : `${line(decision.data, out)}\n`);
    }
  } catch (error) {
    if (outputGone.aborted) return EXIT.done;
    throw error instanceof CliError ? error : lost(client);
  }
  if (flags.follow) err.write(err.style('dim', 'the gateway ended the stream') + '\n');
  return EXIT.done;
}

function line(decision: DecisionEvent, out: OutputStream): string {
  const time = out.style('dim', decision.at.slice(11, 23));
  const about = decision.replica ?? decision.model ?? '';
  const kind = out.style('bold', decision.kind.padEnd(KIND_WIDTH));
  return [time, kind, about, decision.reason].filter((part) => part !== '').join('  ');
}
