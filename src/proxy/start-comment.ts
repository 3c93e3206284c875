/** What a stream that waits for a start is told: one SSE comment, in our own words, for people who look at the bytes. */
import type { ComingStart } from '../core/lifecycle/forecast.ts';
import { MINUTE, SECOND, type Milliseconds } from '../units.ts';

/** By phase. One that is not among them is not told: nothing that an engine says gets into a stream this way. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ['metadata', 'looking at its files'],
  ['image', 'pulling its image'],
  ['weights', 'fetching its weights'],
  ['launch', 'launching its engine'],
  ['launched', 'launching its engine'],
  ['config', 'reading its configuration'],
  ['engine', 'setting up its engine'],
  ['download', 'downloading weights'],
  ['load', 'loading weights'],
  ['compile', 'compiling'],
  ['profile', 'measuring memory'],
  ['kv', 'allocating its KV cache'],
  ['graphs', 'capturing graphs'],
  ['serve', 'opening its port'],
]);

/** Configured names are longer hardly ever; a comment is one line, and stays a short one. */
const LONGEST_NAME = 128;
const IN_SECONDS: Milliseconds = 90 * SECOND;

/** `: starting llama-8b, loading weights 43 %, about 20 s`, with the empty line that ends it. */
export function startComment(model: string, coming: ComingStart): string {
  const parts = [`starting ${oneLine(model)}`, phaseText(coming), leftText(coming)];
  return `: ${parts.filter((part) => part !== null).join(', ')}\n\n`;
}

function phaseText({ stage, phase, fraction }: ComingStart): string | null {
  if (stage === 'reserved') return 'waiting for its turn';
  const words = WORDS.get(phase ?? '');
  if (words === undefined) return null;
  return fraction === null ? words : `${words} ${Math.floor(fraction * 100)} %`;
}

/** On a first start nobody knows when it will be ready; the bar of a phase still tells when that phase is over. */
function leftText({ left, phaseLeft }: ComingStart): string | null {
  if (left !== null) return `about ${spanText(left)}`;
  return phaseLeft === null ? null : `about ${spanText(phaseLeft)} for that`;
}

function spanText(span: Milliseconds): string {
  if (span < IN_SECONDS) return `${Math.max(1, Math.round(span / SECOND))} s`;
  return `${Math.round(span / MINUTE)} min`;
}

/** Whatever could end the line, or be taken for something else, is a space. */
function oneLine(name: string): string {
  return name.slice(0, LONGEST_NAME).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, ' ');
}
