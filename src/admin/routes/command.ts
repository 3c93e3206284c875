/** Routes that act: load, unload, pin and unpin a model. */
import { findModel } from '../find-model.ts';
import { COMMANDS } from '../contract.ts';
import type { Command, CommandAnswer } from '../contract.ts';
import type { OpenAnswers } from '../open-answers.ts';
import type { AdminOptions } from '../options.ts';
import { errorReply, jsonReply } from '../reply.ts';
import { post } from '../routing.ts';
import type { AdminContext, Route } from '../routing.ts';
import { isTrue } from './follow.ts';

export function commandRoutes(options: AdminOptions, open: OpenAnswers): readonly Route[] {
  return COMMANDS.map((command) =>
    post(`/gateway/models/(?<name>.+)/${command}`, 'admin', (context, { name = '' }) =>
      perform(context, options, open, command, name),
    ),
  );
}

async function perform(
  context: AdminContext,
  { control, config }: AdminOptions,
  open: OpenAnswers,
  command: Command,
  name: string,
): Promise<Response> {
  const found = findModel(config(), name);
  if ('error' in found) return errorReply(found.error);
  const { model } = found;
  const wait = isTrue(context.req.query('wait'));
  const leaving = new AbortController();
  const leave = (): void => leaving.abort();
  const { signal } = context.req.raw;
  signal.addEventListener('abort', leave, { once: true });
  // Its command is given; who waits for the end of it may hear it.
  open.set(leave, () => true);
  try {
    const result = await control[command](model, { wait, signal: leaving.signal });
    if (!result.ok) return errorReply(result.error);
    const done = wait && !leaving.signal.aborted;
    const answer: CommandAnswer = { model, command, state: result.state, done };
    return jsonReply(answer, done ? 200 : 202);
  } finally {
    open.delete(leave);
    signal.removeEventListener('abort', leave);
  }
}
