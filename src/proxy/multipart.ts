/**
 * A multipart/form-data body (RFC 7578) while it arrives: finds the `model` field and where its value stands, keeps every
 * other byte as it came. Parts are looked at only through their heads; no file content is ever examined.
 */
import { gatewayError, type GatewayError } from '../errors.ts';
import { applyEdits } from './byte-ranges.ts';
import { ChunkList } from './chunk-list.ts';
import { MAX_NAME_BYTES, MAX_PART_HEAD, MAX_PARTS } from './limits.ts';
import { isUsableName, type RequestBody } from './request-body.ts';

const HEAD_END = Buffer.from('\r\n\r\n');
const EMPTY = Buffer.alloc(0);

const BOUNDARY = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)/i;

/** The boundary of a `multipart/form-data` content type; undefined when it is another type or has none. */
export function boundaryOf(contentType: string): string | undefined {
  if (!/^\s*multipart\/form-data\s*;/i.test(contentType)) return undefined;
  const match = BOUNDARY.exec(contentType);
  return match?.[1] ?? match?.[2];
}

type State = 'preamble' | 'delimited' | 'head' | 'content' | 'epilogue';

const malformed = (what: string): GatewayError =>
  gatewayError('invalid_body', `The request body is not valid multipart/form-data: ${what}.`);

export class MultipartBody implements RequestBody {
  size = 0;
  stream = false;
  private readonly chunks = new ChunkList();
  private readonly delimiter: Buffer;
  private state: State = 'preamble';
  /** Bytes not decided on yet, and the absolute offset of the first. */
  private rest: Buffer = EMPTY;
  private restAt = 0;
  private parts = 0;
  private field: 'model' | 'stream' | null = null;
  private fieldStart = 0;
  private captured = '';
  private name: string | null = null;
  private nameStart = -1;
  private nameEnd = -1;
  private modelFields = 0;
  private foldedModelFields = 0;

  constructor(boundary: string) {
    this.delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
    // The first delimiter may stand at the very start: as if a line had ended before it.
    this.rest = Buffer.from('\r\n');
    this.restAt = -2;
  }

  get model(): string {
    return this.name ?? '';
  }

  add(chunk: Buffer): GatewayError | null {
    this.size += chunk.length;
    this.chunks.add(chunk);
    this.join(chunk);
    for (;;) {
      const before = this.state;
      const length = this.rest.length;
      const problem = this.advance();
      if (problem !== null) return problem;
      if (this.state === before && this.rest.length === length) return null;
    }
  }

  finish(): GatewayError | null {
    this.rest = EMPTY;
    if (this.state !== 'epilogue') return malformed('it ends before the closing delimiter');
    if (this.modelFields + this.foldedModelFields > 1) {
      return gatewayError('model_ambiguous', 'The form has more than one `model` field; send exactly one.', {
        param: 'model',
      });
    }
    if (this.modelFields === 0) {
      return gatewayError('model_missing', 'The form has no `model` field; name the model to use.', { param: 'model' });
    }
    if (this.name === null || !isUsableName(this.name)) {
      return gatewayError('model_invalid', 'The `model` field must be a text of 1 to 256 characters.', {
        param: 'model',
      });
    }
    return null;
  }

  render(servedName: string, defaults: ReadonlyMap<string, string>): Buffer | readonly Buffer[] {
    // Defaults are JSON: there is no one way to say them in a form.
    void defaults;
    if (servedName === this.name) return applyEdits(this.chunks.all(), this.size, []);
    return applyEdits(this.chunks.all(), this.size, [
      { start: this.nameStart, end: this.nameEnd, bytes: Buffer.from(servedName) },
    ]);
  }

  drop(): void {
    this.chunks.clear();
  }

  /** What is not decided on yet goes before what came; content is not copied for that. */
  private join(chunk: Buffer): void {
    const { rest, delimiter } = this;
    const inContent = this.state === 'content' || this.state === 'preamble';
    if (rest.length > 0 && inContent && chunk.length >= delimiter.length) {
      const edge = Buffer.concat([rest, chunk.subarray(0, delimiter.length - 1)]);
      if (edge.indexOf(delimiter) === -1) {
        this.keep(rest.length);
        this.skip(rest.length);
      }
    }
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
  }

  private advance(): GatewayError | null {
    switch (this.state) {
      case 'preamble':
      case 'content':
        return this.seekDelimiter();
      case 'delimited':
        return this.afterDelimiter();
      case 'head':
        return this.partHead();
      default:
        this.skip(this.rest.length);
        return null;
    }
  }

  private skip(bytes: number): void {
    this.rest = this.rest.subarray(bytes);
    this.restAt += bytes;
  }

  private seekDelimiter(): GatewayError | null {
    const at = this.rest.indexOf(this.delimiter);
    if (at === -1) {
      // All but what may be the start of a delimiter is content.
      const sure = Math.max(0, this.rest.length - this.delimiter.length + 1);
      this.keep(sure);
      this.skip(sure);
      return null;
    }
    this.keep(at);
    if (this.field !== null) this.endField(this.restAt + at);
    this.skip(at + this.delimiter.length);
    this.state = 'delimited';
    return null;
  }

  private keep(bytes: number): void {
    if (this.field === null || this.captured.length > MAX_NAME_BYTES) return;
    this.captured += this.rest.toString('latin1', 0, Math.min(bytes, MAX_NAME_BYTES + 1));
  }

  private endField(end: number): void {
    const text = Buffer.from(this.captured, 'latin1').toString('utf8');
    if (this.field === 'stream') {
      this.stream = /^(?:true|1)$/i.test(text);
    } else {
      // What does not survive the round trip was not UTF-8.
      const valid = this.captured.length <= MAX_NAME_BYTES && Buffer.from(text).toString('latin1') === this.captured;
      this.name = valid ? text : null;
      this.nameStart = this.fieldStart;
      this.nameEnd = end;
    }
    this.field = null;
  }

  private afterDelimiter(): GatewayError | null {
    // RFC 2046 §5.1.1: white space may follow; then a line end, or the two dashes of the last delimiter.
    let at = 0;
    while (this.rest[at] === 0x20 || this.rest[at] === 0x09) at++;
    if (at > MAX_PART_HEAD) return malformed('white space after a delimiter does not end');
    if (this.rest.length < at + 2) return null;
    const next = this.rest.toString('latin1', at, at + 2);
    if (next === '--') {
      this.state = 'epilogue';
      this.skip(at + 2);
      return null;
    }
    if (next !== '\r\n') return malformed('a delimiter is not followed by a line end');
    if (++this.parts > MAX_PARTS) return malformed(`it has more than ${MAX_PARTS} parts`);
    this.state = 'head';
    // The line end stays: a part without a head begins with an empty line.
    this.skip(at);
    return null;
  }

  private partHead(): GatewayError | null {
    const end = this.rest.indexOf(HEAD_END);
    if (end > MAX_PART_HEAD || (end === -1 && this.rest.length > MAX_PART_HEAD)) {
      return malformed('the head of a part is too long');
    }
    if (end === -1) return null;
    this.readHead(this.rest.toString('latin1', 0, end));
    this.skip(end + HEAD_END.length);
    this.fieldStart = this.restAt;
    this.captured = '';
    this.state = 'content';
    return null;
  }

  private readHead(head: string): void {
    const disposition = /\r\ncontent-disposition:\s*form-data\s*(;[^\r\n]*)/i.exec(head)?.[1] ?? '';
    const name = /;\s*name=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(disposition);
    const key = name?.[1] ?? name?.[2] ?? '';
    const isFile = /;\s*filename\*?=/i.test(disposition);
    this.field = null;
    if (key === 'model') {
      this.modelFields++;
      this.name = null;
      if (!isFile) this.field = 'model';
    } else if (key.toLowerCase() === 'model') {
      this.foldedModelFields++;
    } else if (key === 'stream' && !isFile) {
      this.field = 'stream';
    }
  }
}
