import { type Json, isObject } from './body.ts';
import { badRequest } from './errors.ts';
import type { ServeOptions } from './options.ts';
import type { Prompt } from './render.ts';
import { instanceOf } from './schema.ts';
import { nonceOf } from './text.ts';

export interface Tool {
  readonly name: string;
  readonly parameters: unknown;
}

/** Which tool the answer calls, and how its finish reason reads. */
export interface ToolDecision {
  readonly tool: Tool;
  readonly reason: 'stop' | 'tool_calls';
}

export function readTools(body: Json): Tool[] {
  const list = Array.isArray(body['tools']) ? body['tools'] : [];
  const tools: Tool[] = [];
  for (const item of list) {
    if (!isObject(item)) continue;
    const inner = isObject(item['function']) ? item['function'] : item;
    const parameters = inner['parameters'] ?? inner['input_schema'] ?? {};
    if (typeof inner['name'] === 'string') tools.push({ name: inner['name'], parameters });
  }
  return tools;
}

/**
 * `tool_choice` in any of its three spellings. A free choice calls the first tool that is asked for by name; once
 * results have come back, no other, so that an agent's turn ends.
 * @throws RequestError when the flags for it are missing, as the real server refuses.
 */
export function decideTool(
  choice: unknown,
  tools: readonly Tool[],
  prompt: Prompt,
  options: ServeOptions,
): ToolDecision | undefined {
  const kind = choiceKind(choice, tools.length);
  if (kind === 'none') return undefined;
  if (tools.length === 0) {
    throw badRequest('When using `tool_choice`, `tools` must be set. (parameter=tool_choice)', 'tool_choice');
  }
  const first = tools[0];
  if (kind === 'auto') {
    if (!options.autoTools) {
      throw badRequest('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set');
    }
    const mentioned = tools.find((tool) => namesWord(prompt.asked ?? '', tool.name));
    return mentioned === undefined ? undefined : { tool: mentioned, reason: 'tool_calls' };
  }
  if (kind === 'required') {
    if (!options.toolParser) throw badRequest('tool_choice="required" requires --tool-call-parser to be set');
    return first === undefined ? undefined : { tool: first, reason: 'tool_calls' };
  }
  if (!options.toolParser)
    throw badRequest(`tool_choice=function "${kind.name}" requires --tool-call-parser to be set`);
  const named = tools.find((tool) => tool.name === kind.name);
  if (named === undefined) {
    throw badRequest('The tool specified in `tool_choice` does not match any of the specified `tools`', 'tool_choice');
  }
  return { tool: named, reason: 'stop' };
}

/** `Read` is named in "call Read", not in "Readme". */
function namesWord(text: string, name: string): boolean {
  return text.split(/[^\w-]+/).includes(name);
}

function choiceKind(choice: unknown, tools: number): 'none' | 'auto' | 'required' | { name: string } {
  if (choice === undefined || choice === null) return tools === 0 ? 'none' : 'auto';
  if (choice === 'none' || choice === 'auto' || choice === 'required') {
    return choice === 'auto' && tools === 0 ? 'none' : choice;
  }
  if (!isObject(choice)) return 'auto';
  const type = choice['type'];
  if (type === 'none' || type === 'auto') return type;
  if (type === 'any') return 'required';
  const inner = isObject(choice['function']) ? choice['function'] : choice;
  return { name: String(inner['name'] ?? '') };
}

/** Arguments of a call, as JSON text. */
export function callArguments(tool: Tool, prompt: string): string {
  const schema =
    isObject(tool.parameters) && Object.keys(tool.parameters).length > 0 ? tool.parameters : { type: 'object' };
  return JSON.stringify(instanceOf(schema, nonceOf(prompt) ?? 'Paris'));
}
