/**
 * The pretended model: a word tokenizer and deterministic answers. The same prompt always gets the same answer; a
 * `nonce:XYZ` in the prompt comes back as its first token, so that a test can tell whose answer it holds.
 */

const WORDS = (
  'the model answers with plain words about queues memory engines and time while every request waits for its own turn ' +
  'then a slot opens one token follows another until the last is sent green blue north river stone light paper seven'
).split(' ');

const PIECES = /nonce:[\w-]+|\s?[A-Za-z]{1,8}|\s?\d{1,2}|\s?[^\sA-Za-z\d]|\s+/gu;
const NONCE = /nonce:[\w-]+/;
const SPECIAL = ['<|begin|>', '<|end|>', '<|system|>', '<|user|>', '<|assistant|>', '<|tool|>'];
export const VOCABULARY = 32_000;
/** Ids below this are single characters, so that they can be read back without having been seen. */
const FIRST_LEARNT = 256;

const learnt = new Map<number, string>();

export function pieces(text: string): string[] {
  return text.match(PIECES) ?? [];
}

/** FNV-1a, 32 bits. */
export function hash(text: string): number {
  let value = 0x81_1c_9d_c5;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01_00_01_93);
  }
  return value >>> 0;
}

export function tokenId(piece: string): number {
  const special = SPECIAL.indexOf(piece);
  if (special !== -1) return special;
  const code = piece.charCodeAt(0);
  if (piece.length === 1 && code >= 32 && code < 127) return code - 26;
  const id = FIRST_LEARNT + (hash(piece) % (VOCABULARY - FIRST_LEARNT));
  if (learnt.size < VOCABULARY) learnt.set(id, piece);
  return id;
}

export function pieceOf(id: number): string {
  if (id < SPECIAL.length) return SPECIAL[id] ?? '';
  if (id < 127 - 26) return String.fromCharCode(id + 26);
  return learnt.get(id) ?? ` ${WORDS[id % WORDS.length] ?? ''}`;
}

export function nonceOf(prompt: string): string | undefined {
  return NONCE.exec(prompt)?.[0];
}

/** `count` tokens of answer, without end: the caller decides where it stops. */
export function answerPieces(prompt: string, variant: number, count: number): string[] {
  const answer: string[] = [];
  const nonce = nonceOf(prompt);
  if (nonce !== undefined && count > 0) answer.push(nonce);
  let state = hash(`${variant}:${prompt}`) || 1;
  while (answer.length < count) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const word = WORDS[(state >>> 0) % WORDS.length] ?? '';
    answer.push(answer.length === 0 ? word : ` ${word}`);
  }
  return answer;
}

/** A unit vector of the text, the same every time. */
export function vectorOf(text: string, dimensions: number): number[] {
  let state = hash(text) || 1;
  const raw = Array.from({ length: dimensions }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) / 0xff_ff_ff_ff) * 2 - 1;
  });
  const length = Math.hypot(...raw);
  return raw.map((value) => value / length);
}
