import { shortId } from '../app.ts';
import { canonicalModel } from '../answer.ts';
import { type Json, readJson } from '../body.ts';
import { badRequest, missingField } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { admit, endlessHeaders, enqueue, failureOf } from '../generate.ts';
import type { FinishReason } from '../metrics.ts';
import { type Part, readMultipart } from '../multipart.ts';
import { paceOf, planText, readSampling } from '../sampling.ts';
import { EventStream } from '../sse.ts';
import { hash, nonceOf } from '../text.ts';
import { asRequestError } from './request-parts.ts';
import { fromText } from './completions.ts';
import { applyFake } from './fake.ts';
import { type Route, route } from './route.ts';

const LARGEST_CLIP = 25 * 1024 * 1024;
/** 16 kHz, 16 bit, one channel. */
const BYTES_PER_SECOND = 32_000;

export function audioRoutes(task: 'transcription' | 'speech'): Route[] {
  if (task === 'speech') return [route('POST', '/v1/audio/speech', speech)];
  return ['transcriptions', 'translations'].map((name) => route('POST', `/v1/audio/${name}`, transcribe));
}

async function transcribe(x: Exchange): Promise<void> {
  const parts = readMultipart(x.header('content-type') ?? '', x.body) ?? [];
  const fields = formFields(parts);
  applyFake(x, fields);
  const file = parts.find((part) => part.name === 'file');
  if (file === undefined) throw missingField('file', undefined);
  if (file.data.length > LARGEST_CLIP) throw badRequest('Maximum file size exceeded (parameter=audio_filesize_mb)');
  const model = canonicalModel(x, fields);
  const nonce = nonceOf(String(fields['prompt'] ?? '')) ?? nonceOf(file.data.toString('latin1')) ?? '';
  const prompt = fromText(`audio ${hash(file.data.toString('latin1'))} ${nonce}`);
  const sampling = readSampling(x, fields, prompt, ['max_completion_tokens']);
  await admit(x, 1);
  if (x.faults.has('never_ending_headers')) {
    endlessHeaders(x);
    return;
  }
  const plan = planText(x, prompt, sampling, 0);
  const seconds = Math.max(1, Math.ceil(file.data.length / BYTES_PER_SECOND));
  const events = sampling.stream ? new EventStream(x, 'openai') : undefined;
  events?.open();
  const id = `trsc-${shortId()}`;
  const created = Math.floor(Date.now() / 1000);
  const send = (delta: Json, finish: string | null): void => {
    const choices = [{ delta, finish_reason: finish, stop_reason: null }];
    events?.send(JSON.stringify({ id, object: 'transcription.chunk', created, model, choices }));
  };
  let text = '';
  const listener = {
    token: (_index: number, piece: string): void => {
      text += piece;
      send({ content: piece }, null);
    },
    finished: (_index: number, reason: FinishReason): void => {
      send({ content: '' }, reason);
      if (events === undefined) reply(x, fields, text, seconds);
      else events.finish();
    },
    failed: (error: Error): void => (events === undefined ? x.error(failureOf(error)) : events.fail(failureOf(error))),
  };
  const generation = { id, prompt, maxTokens: sampling.maxTokens, plans: [plan], pace: paceOf(x, sampling), listener };
  await enqueue(x, generation).then(
    (running) => events?.onCut(running.abort),
    (error: Error) => {
      if (events !== undefined) events.fail(asRequestError(error));
      else if (!x.gone) x.error(asRequestError(error));
    },
  );
}

function formFields(parts: readonly Part[]): Json {
  const fields: Json = {};
  for (const part of parts) {
    if (part.filename !== undefined) continue;
    const text = part.data.toString('utf8');
    fields[part.name] = text === 'true' ? true : text === 'false' ? false : text;
  }
  const fake = fields['fake'];
  if (typeof fake === 'string') fields['fake'] = JSON.parse(fake) as unknown;
  return fields;
}

function reply(x: Exchange, fields: Json, text: string, seconds: number): void {
  const format = fields['response_format'] ?? 'json';
  if (format === 'text') x.send(200, 'text/plain; charset=utf-8', Buffer.from(text), []);
  else if (format === 'verbose_json')
    x.json(200, { duration: String(seconds), language: 'en', text, segments: [], words: null });
  else x.json(200, { text, usage: { type: 'duration', seconds } });
}

/** A short sound as a WAV file: not part of vLLM itself but of servers with the same flags. */
async function speech(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  canonicalModel(x, body);
  if (typeof body['input'] !== 'string') throw missingField('input', body);
  const { input } = body as { input: string };
  const prompt = fromText(input);
  const sampling = readSampling(x, { fake: body['fake'] }, prompt, ['max_tokens']);
  await admit(x, 1);
  const listener = {
    token: (): void => undefined,
    finished: (): void => x.send(200, 'audio/wav', wave(input), []),
    failed: (error: Error): void => x.error(failureOf(error)),
  };
  const plans = [{ pieces: [], reason: 'stop' as const }];
  const generation = { id: shortId(), prompt, maxTokens: 1, plans, pace: paceOf(x, sampling), listener };
  await enqueue(x, generation).catch((error: Error) => {
    if (!x.gone) x.error(asRequestError(error));
  });
}

/** A header and noise that only depends on the text; every byte value occurs. */
function wave(text: string): Buffer {
  const samples = Buffer.alloc(Math.min(text.length, 1000) * 640 + 1024);
  const seed = hash(text);
  for (let index = 0; index < samples.length; index += 1) samples[index] = (seed + index * 31) & 0xff;
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + samples.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(16_000, 24);
  head.writeUInt32LE(BYTES_PER_SECOND, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(samples.length, 40);
  return Buffer.concat([head, samples]);
}
