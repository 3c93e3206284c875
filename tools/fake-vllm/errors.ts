/** An answer that is an error, in the shape the route gives it. */
export class RequestError extends Error {
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  constructor(status: number, type: string, message: string, param: string | null = null) {
    super(message);
    this.status = status;
    this.type = type;
    this.param = param;
  }
}

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: number;
  };
}

export function openaiError(error: RequestError): ErrorBody {
  return { error: { message: error.message, type: error.type, param: error.param, code: error.status } };
}

export function anthropicError(error: RequestError): unknown {
  return { type: 'error', error: { type: error.type, message: error.message } };
}

export const badRequest = (message: string, param: string | null = null): RequestError =>
  new RequestError(400, 'BadRequestError', message, param);

/** A pydantic complaint; `fields` are printed as Python prints a dict. */
export function validationError(fields: string, param: string | null): RequestError {
  return new RequestError(400, 'Bad Request', `1 validation error:\n  ${fields}`, param);
}

export function missingField(name: string, body: unknown): RequestError {
  const place = name === '' ? 'body' : `body.${name}`;
  return validationError(
    `{'type': 'missing', 'loc': '${place}', 'msg': 'Field required', 'input': '${shown(body)}'}`,
    place,
  );
}

export function wrongType(type: string, name: string, message: string, input: unknown): RequestError {
  const place = name === '' ? 'body' : `body.${name}`;
  return validationError(
    `{'type': '${type}', 'loc': '${place}', 'msg': '${message}', 'input': '${shown(input)}'}`,
    place,
  );
}

export const notFoundModel = (model: string, names: readonly string[]): RequestError =>
  new RequestError(
    404,
    'NotFoundError',
    `The model \`${model}\` does not exist. Valid aliases: ${names.join(', ')}.`,
    'model',
  );

export const engineDead = (): RequestError =>
  new RequestError(
    500,
    'InternalServerError',
    'EngineCore encountered an issue. See stack trace (above) for the root cause.',
  );

export const shuttingDown = (): RequestError =>
  new RequestError(500, 'InternalServerError', 'cannot schedule new futures after shutdown');

export const engineBusy = (): RequestError =>
  new RequestError(
    503,
    'Service Unavailable',
    'The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.',
  );

export const scaleOutDisabled = (): RequestError =>
  new RequestError(
    403,
    'PermissionDeniedError',
    'Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them.',
  );

function shown(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (Array.isArray(value)) return `<list of ${value.length} items>`;
  if (typeof value === 'object') return `<dict of ${Object.keys(value).length} items>`;
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** JSON as Python's `json.dumps` prints it, with spaces: only error frames look like that. */
export function pythonJson(body: ErrorBody): string {
  const { message, type, param, code } = body.error;
  const text = (value: string | null): string => JSON.stringify(value);
  return `{"error": {"message": ${text(message)}, "type": ${text(type)}, "param": ${text(param)}, "code": ${code}}}`;
}
