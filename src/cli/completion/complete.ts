/** The hidden command that the completion scripts call: candidates, one a line, with what they are behind a tab. */
import type { Command } from 'commander';
import { statusAnswer } from '../../admin/contract.ts';
import { SECOND } from '../../units.ts';
import type { Milliseconds } from '../../units.ts';
import { GatewayClient, gatewayUrl } from '../client.ts';
import { EXIT } from '../world.ts';
import type { World } from '../world.ts';
import { candidates, type Candidate } from './candidates.ts';

/** Somebody waits with a finger on the tab key. */
const GATEWAY_LIMIT: Milliseconds = SECOND / 2;
/** Tells the script to offer files: no candidate begins with a colon. */
const FILES = ':files';

/** `words`: after the program's name; the last is the one at the cursor, maybe empty. */
export async function complete(world: World, program: Command, words: readonly string[]): Promise<number> {
  const current = words.at(-1) ?? '';
  const found = candidates(program, words.slice(0, -1), current);
  const models = found.also === 'models' ? await modelNames(world, words) : [];
  const prefix = /^--[\w-]+=/.exec(current)?.[0] ?? '';
  const fitting = models
    .map((text) => ({ text: prefix + text, about: '' }))
    .filter(({ text }) => text.startsWith(current));
  const lines = [...found.words, ...fitting].map(lineOf);
  world.out.write([...lines, ...(found.also === 'files' ? [FILES] : [])].map((line) => `${line}\n`).join(''));
  return EXIT.done;
}

const lineOf = ({ text, about }: Candidate): string => [text, ...(about === '' ? [] : [about])].map(clean).join('\t');
const clean = (text: string): string => text.replaceAll(/\p{Cc}+/gu, ' ');

/** None where no gateway answers at once: a completion never complains. */
async function modelNames(world: World, words: readonly string[]): Promise<readonly string[]> {
  const limit = new AbortController();
  using _limit = world.platform.clock.after(GATEWAY_LIMIT, () => limit.abort());
  try {
    const client = new GatewayClient(world, gatewayUrl(urlIn(words), world.platform.env));
    const { value } = await client.json('/gateway/status', statusAnswer, { signal: limit.signal });
    return Object.entries(value.models).flatMap(([name, { aliases }]) => [name, ...aliases]);
  } catch (error) {
    if (error instanceof Error) return [];
    throw error;
  }
}

/** `--url` as typed so far. */
function urlIn(words: readonly string[]): string | undefined {
  const at = words.indexOf('--url');
  const assigned = words.find((word) => word.startsWith('--url='));
  return assigned?.slice('--url='.length) ?? (at === -1 ? undefined : words[at + 1]);
}
