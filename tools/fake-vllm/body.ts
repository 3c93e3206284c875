import { missingField, type RequestError, validationError, wrongType } from './errors.ts';
import type { Exchange } from './exchange.ts';

export type Json = Record<string, unknown>;

/** Answer of FastAPI when the body cannot be decoded: not vLLM's error shape. */
export class UndecodableBody extends Error {}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The JSON object of a request, with the complaints FastAPI and pydantic make.
 * @throws RequestError in the OpenAI shape, whatever the route's dialect; UndecodableBody.
 */
export function readJson(x: Exchange): Json {
  const type = (x.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') {
    throw validationError("Unsupported Media Type: Only 'application/json' is allowed", null);
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(x.body);
  } catch {
    throw new UndecodableBody();
  }
  if (text === '') throw missingField('', undefined);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw syntaxError(text, String(error));
  }
  if (isObject(value)) return value;
  throw wrongType(
    'model_attributes_type',
    '',
    'Input should be a valid dictionary or object to extract fields from',
    value,
  );
}

function syntaxError(text: string, message: string): RequestError {
  const found = /position (\d+)/.exec(message)?.[1];
  const position = found === undefined ? text.length : Number(found);
  const trimmed = text.slice(0, position).trimEnd();
  const reason = trimmed === '' || /[[:,{]$/.test(trimmed) ? 'Expecting value' : "Expecting ',' delimiter";
  const fields = `{'type': 'json_invalid', 'loc': 'body.${position}', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {'error': "${reason}"}}`;
  return validationError(reason.includes("'") ? fields : fields.replaceAll('"', "'"), `body.${position}`);
}

/** An optional whole number, with pydantic's complaint about anything else. */
export function optionalInt(body: Json, name: string): number | undefined {
  const value = body[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && Number.isInteger(value)) return value;
  if (typeof value === 'string' && /^[+-]?\d+$/.test(value.trim())) return Number(value);
  if (typeof value === 'string') {
    throw wrongType(
      'int_parsing',
      name,
      'Input should be a valid integer, unable to parse string as an integer',
      value,
    );
  }
  throw wrongType('int_type', name, 'Input should be a valid integer', value);
}

export function optionalNumber(body: Json, name: string): number | undefined {
  const value = body[name];
  if (value === undefined || value === null) return undefined;
  const number = typeof value === 'number' ? value : Number(value);
  if (typeof value === 'boolean' || Number.isNaN(number)) {
    throw wrongType('float_parsing', name, 'Input should be a valid number, unable to parse string as a number', value);
  }
  return number;
}

export function flag(body: Json, name: string): boolean {
  return body[name] === true;
}
