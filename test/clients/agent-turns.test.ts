/** One turn of an agent in each dialect: a question beside its notes, a call, the result, an answer. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';

let gateway: TestGateway;

beforeAll(async () => {
  const flags = ['--enable-auto-tool-choice', '--tool-call-parser', 'hermes'];
  gateway = await startTestGateway({
    yaml: gatewayYaml({ coder: { repo: 'org/coder', extra_args: flags, max_model_len: 32768, env: QUICK } }),
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

async function ask(path: string, body: object): Promise<unknown> {
  const answer = await fetch(`${gateway.url}${path}`, { method: 'POST', body: JSON.stringify(body) });
  return answer.json();
}

const NOTES = '<system-reminder>Read CLAUDE.md with Read before you Edit.</system-reminder>';
const parameters = { type: 'object', properties: { command: { type: 'string', enum: ['ls'] } }, required: ['command'] };
const names = ['Read', 'Edit', 'Bash'];

it('of Claude Code calls the tool that the person names, not one of its notes, and ends after the result', async () => {
  const tools = names.map((name) => ({ name, description: `It does ${name}.`, input_schema: parameters }));
  const say = (text: string): object => ({
    role: 'user',
    content: [NOTES, text].map((part) => ({ type: 'text', text: part })),
  });
  const system = [{ type: 'text', text: NOTES }];
  const send = (turns: readonly object[]): Promise<unknown> => {
    const messages = [...turns, { role: 'system', content: system }];
    return ask('/v1/messages?beta=true', { model: 'coder', max_tokens: 100, system, tools, messages });
  };

  expect(await send([say('Hello')])).toMatchObject({ stop_reason: 'end_turn', content: [{ type: 'text' }] });
  const call = { type: 'tool_use', name: 'Bash', input: { command: 'ls' } };
  expect(await send([say('Use Bash.')])).toMatchObject({ stop_reason: 'tool_use', content: [call] });
  const result = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'Bash says: README.md' };
  const after = [say('Use Bash.'), { role: 'assistant', content: [{ ...call, id: 'toolu_1' }] }];
  const answer = { stop_reason: 'end_turn', content: [{ type: 'text' }] };
  expect(await send([...after, { role: 'user', content: [result] }])).toMatchObject(answer);
});

it('of Codex calls the tool that the person names and ends after its output', async () => {
  const tools = names.map((name) => ({ type: 'function', name, strict: false, parameters }));
  const say = (role: string, text: string): object => ({
    type: 'message',
    role,
    content: [{ type: 'input_text', text }],
  });
  const send = (more: readonly object[]): Promise<unknown> => {
    const input = [say('developer', NOTES), say('user', NOTES), say('user', 'Use Bash.'), ...more];
    return ask('/v1/responses', {
      model: 'coder',
      instructions: NOTES,
      tools,
      tool_choice: 'auto',
      store: false,
      input,
    });
  };

  const call = { type: 'function_call', name: 'Bash', arguments: '{"command":"ls"}' };
  expect(await send([])).toMatchObject({ status: 'completed', output: [call] });
  const output = { type: 'function_call_output', call_id: 'call_1', output: 'Bash says: README.md nonce:seen' };
  const answer = { type: 'message', content: [{ type: 'output_text', text: expect.stringContaining('nonce:seen') }] };
  expect(await send([{ ...call, call_id: 'call_1' }, output])).toMatchObject({ status: 'completed', output: [answer] });
});
