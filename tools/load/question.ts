/** What is asked of the simulated engine, and whether an answer is exactly the one that belongs to it. */
import { renderChat } from '../fake-vllm/render.ts';
import { answerPieces } from '../fake-vllm/text.ts';
import { eventsIn, type Received } from './connection.ts';

export interface Wish {
  readonly model: string;
  readonly stream: boolean;
  readonly tokens: number;
  readonly tokenMs?: number;
  readonly firstMs?: number;
  /** So many bytes more in the prompt. */
  readonly promptBytes?: number;
  /** What the engine is to do wrong with this request. */
  readonly fault?: string;
}

export interface Question {
  readonly wish: Wish;
  readonly body: Buffer;
  readonly expected: string;
}

export const CHAT = '/v1/chat/completions';

let serial = 0;
const FILLER = ' and about what waits in them'.repeat(3_000);

/** Each carries a word of its own that its answer begins with; the rest of the answer follows from the prompt. */
export function question(wish: Wish): Question {
  serial += 1;
  const content = `nonce:n${serial.toString(36)}-${wish.model} tell me about queues${FILLER.slice(0, wish.promptBytes ?? 0)}`;
  const messages = [{ role: 'user', content }];
  const fake = {
    tokens: wish.tokens,
    ...(wish.tokenMs === undefined ? {} : { token_ms: wish.tokenMs }),
    ...(wish.firstMs === undefined ? {} : { ttft_ms: wish.firstMs }),
    ...(wish.fault === undefined ? {} : { fault: wish.fault }),
  };
  const body = { model: wish.model, stream: wish.stream, messages, fake };
  const expected = answerPieces(renderChat(messages, [], wish.model, false).text, 0, wish.tokens).join('');
  return { wish, body: Buffer.from(JSON.stringify(body)), expected };
}

/**
 * How it ended, in a word or two that can be counted:
 * `200` whole and right · `left` the client went · `429 queue_full` refused, with its code · `stream: upstream_lost` a stream
 * that was ended by an error event · `cut` nothing, or a part that does not look complete, then the end of the connection ·
 * `WRONG: …` an answer that nobody may ever get.
 */
export function endOf(question: Question, received: Received): string {
  const { wish, expected } = question;
  if (received.broken !== null) return `WRONG: ${received.broken}`;
  const read = wish.stream && received.status === 200 ? readStream(received) : readPlain(received);
  if (!expected.startsWith(read.text)) return `WRONG: the answer to another question`;
  if (received.left) return 'left';
  if (received.status === 0) return 'no answer';
  if (received.status !== 200) return received.whole ? `${received.status} ${read.code}` : 'cut';
  if (!received.whole) return read.code === '' ? 'cut' : `stream: ${read.code}`;
  if (read.code !== '') return `stream: ${read.code}`;
  if (read.text !== expected || !read.finished) return 'WRONG: a part that looks complete';
  // The role, a token each, the reason why it ended, and [DONE].
  if (wish.stream && eventsIn(received.body) < wish.tokens + 1) return 'WRONG: fewer events than tokens';
  return '200';
}

interface Read {
  readonly text: string;
  /** Of an error; empty without one. */
  readonly code: string;
  readonly finished: boolean;
}

interface Frame {
  readonly error?: { readonly code?: string | number | null; readonly type?: string };
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string | null };
    readonly message?: { readonly content?: string | null };
    readonly finish_reason?: string | null;
  }[];
}

function codeOf({ error }: Frame): string {
  return error === undefined ? '' : String(error.code ?? error.type ?? 'unknown');
}

function readStream({ body }: Received): Read {
  let text = '';
  let code = '';
  let finished = false;
  let done = false;
  for (const frame of body.split('\n\n').slice(0, -1)) {
    if (!frame.startsWith('data: ')) continue;
    const data = frame.slice(6);
    if (data === '[DONE]') {
      done = true;
      continue;
    }
    const parsed = JSON.parse(data) as Frame;
    code ||= codeOf(parsed);
    text += parsed.choices?.[0]?.delta?.content ?? '';
    const reason = parsed.choices?.[0]?.finish_reason;
    if (reason === 'abort') code ||= 'abort';
    else if (typeof reason === 'string') finished = true;
  }
  return { text, code, finished: finished && done };
}

function readPlain({ body, whole }: Received): Read {
  if (!whole) return { text: '', code: '', finished: false };
  try {
    const parsed = JSON.parse(body) as Frame;
    const choice = parsed.choices?.[0];
    if (choice?.finish_reason === 'abort') return { text: '', code: 'abort', finished: true };
    return { text: choice?.message?.content ?? '', code: codeOf(parsed), finished: true };
  } catch {
    return { text: '', code: 'no JSON', finished: false };
  }
}
