/** A JSON body: one scan gives the top-level keys and where the model's name stands; it is never parsed and never written anew. */
import { gatewayError, type GatewayError } from '../errors.ts';
import { applyEdits, type Edit } from './byte-ranges.ts';
import { ChunkList } from './chunk-list.ts';
import { JsonScanner, type ScalarKind, type ScanSink } from './json-scan.ts';
import { MAX_DEPTH, MAX_TOP_LEVEL_KEYS } from './limits.ts';
import { isUsableName, type RequestBody } from './request-body.ts';

const PROBLEMS = {
  syntax: 'The request body is not valid JSON.',
  utf8: 'The request body is not valid UTF-8.',
  depth: `The request body nests deeper than ${MAX_DEPTH} levels.`,
} as const;

export class JsonBody implements RequestBody, ScanSink {
  size = 0;
  stream = false;
  private readonly chunks = new ChunkList();
  private readonly scanner = new JsonScanner(this, 1, MAX_DEPTH);
  /** As they came, once and again. */
  private readonly keys: string[] = [];
  private current = '';
  private name: string | null = null;
  private nameStart = -1;
  private nameEnd = -1;
  private modelKeys = 0;
  private foldedModelKeys = 0;

  get model(): string {
    return this.name ?? '';
  }

  add(chunk: Buffer): GatewayError | null {
    this.size += chunk.length;
    this.chunks.add(chunk);
    if (!this.scanner.write(chunk)) return this.badJson();
    // Further keys are only counted against the bound, so that a body cannot make the table large.
    return this.keys.length > MAX_TOP_LEVEL_KEYS
      ? gatewayError('invalid_body', `The request body has more than ${MAX_TOP_LEVEL_KEYS} top-level keys.`)
      : null;
  }

  finish(): GatewayError | null {
    if (!this.scanner.end()) return this.badJson();
    if (this.scanner.rootObject === -1) {
      return gatewayError('invalid_body', 'The request body must be a JSON object.');
    }
    if (this.modelKeys + this.foldedModelKeys > 1) {
      return gatewayError('model_ambiguous', 'The request body has more than one `model` key; send exactly one.', {
        param: 'model',
      });
    }
    if (this.modelKeys === 0) {
      return gatewayError('model_missing', 'The request body has no `model`; name the model to use as a string.', {
        param: 'model',
      });
    }
    if (this.name === null || !isUsableName(this.name)) {
      return gatewayError('model_invalid', '`model` must be a string of 1 to 256 characters.', { param: 'model' });
    }
    return null;
  }

  render(servedName: string, defaults: ReadonlyMap<string, string>): Buffer | readonly Buffer[] {
    const edits: Edit[] = [];
    let inserted = '';
    for (const [key, json] of defaults) if (!this.keys.includes(key)) inserted += `${JSON.stringify(key)}:${json},`;
    if (inserted !== '') {
      // There is at least the key `model` behind it, so that the trailing comma is right.
      const at = this.scanner.rootObject + 1;
      edits.push({ start: at, end: at, bytes: Buffer.from(inserted) });
    }
    if (servedName !== this.name) {
      edits.push({ start: this.nameStart, end: this.nameEnd, bytes: Buffer.from(JSON.stringify(servedName)) });
    }
    return applyEdits(this.chunks.all(), this.size, edits);
  }

  drop(): void {
    this.chunks.clear();
  }

  key(_depth: number, key: string | null): boolean {
    if (key === null) return false;
    this.current = key;
    if (this.keys.length <= MAX_TOP_LEVEL_KEYS) this.keys.push(key);
    if (key === 'model') {
      this.modelKeys++;
      this.name = null;
      return true;
    }
    if (key.length === 5 && key.toLowerCase() === 'model') this.foldedModelKeys++;
    return key === 'stream';
  }

  value(_depth: number, kind: ScalarKind, text: string | null, start: number, end: number): void {
    if (this.current === 'stream') {
      this.stream = kind === 'true';
    } else if (kind === 'string') {
      this.name = text;
      this.nameStart = start;
      this.nameEnd = end;
    }
  }

  container(): void {
    if (this.current === 'stream') this.stream = false;
  }

  private badJson(): GatewayError {
    if (this.size === 0) return gatewayError('invalid_json', 'The request body is empty; send a JSON object.');
    return gatewayError('invalid_json', PROBLEMS[this.scanner.problem ?? 'syntax']);
  }
}
