/** Asks other parsers what they make of everything that was forwarded: they must agree with ours, byte for byte. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { readByNode, readUnambiguous, shown, type OtherReading } from './unambiguous.ts';

const SCRIPT = fileURLToPath(new URL('parse-forwarded.py', import.meta.url));
const MAX_OUTPUT = 512 * 1024 * 1024;

/** A Python that has h11 and httptools, the parsers that stand before vLLM; '' = not asked for. */
export const PYTHON = process.env['HTTP_PARSERS_PYTHON'] ?? '';

interface PythonReading {
  readonly requests: readonly (Omit<OtherReading, 'body'> & { readonly body: string })[];
  readonly faults: number;
}

/** Without what differs from request to request in every case alike. */
function distinct(forwarded: readonly Buffer[]): readonly Buffer[] {
  const found = new Map<string, Buffer>();
  for (const raw of forwarded) {
    const text = raw
      .toString('latin1')
      .replace(/\r\nx-request-id: req-[\w-]+/, '')
      .replace(/good-\d+/, '');
    if (!found.has(text)) found.set(text, raw);
  }
  return [...found.values()];
}

function expectSame(name: string, raw: Buffer, reading: { requests: readonly OtherReading[]; faults: number }): void {
  const { method, target, fields, body } = readUnambiguous(raw);
  expect([reading.requests.length, reading.faults], `${name} on ${shown(raw)}`).toEqual([1, 0]);
  const [other] = reading.requests;
  expect([other?.method, other?.target, other?.fields], name).toEqual([method, target, fields]);
  expect(shown(other?.body ?? Buffer.alloc(0)), name).toBe(shown(body));
}

/** How many different requests were looked at. */
export async function agreeWithNode(forwarded: readonly Buffer[]): Promise<number> {
  const all = distinct(forwarded);
  for (const raw of all) expectSame('node:http', raw, await readByNode(raw));
  return all.length;
}

export function agreeWithPython(forwarded: readonly Buffer[]): number {
  const all = distinct(forwarded);
  const input = all.map((raw) => raw.toString('base64')).join('\n');
  const run = spawnSync(PYTHON, [SCRIPT], { input, encoding: 'utf8', maxBuffer: MAX_OUTPUT });
  if (run.status !== 0) throw new Error(`${PYTHON} ended with ${run.status}: ${run.stderr}`);
  const lines = run.stdout.trimEnd().split('\n');
  expect(lines.length).toBe(all.length);
  for (const [index, raw] of all.entries()) {
    const readings = JSON.parse(lines[index] ?? '') as Record<'h11' | 'httptools', PythonReading>;
    for (const name of ['h11', 'httptools'] as const) {
      const { requests, faults } = readings[name];
      const read = requests.map((request) => ({ ...request, body: Buffer.from(request.body, 'base64') }));
      expectSame(name, raw, { requests: read, faults });
    }
  }
  return all.length;
}
