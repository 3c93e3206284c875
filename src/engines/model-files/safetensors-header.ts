/** The head of a safetensors file: eight bytes of length, little-endian, then JSON that describes each tensor. */
import type { Files } from '../../platform/platform.ts';
import { MIB, type Bytes } from '../../units.ts';
import { asObject, fieldOf, listAt, parseObject, textAt } from './json.ts';
import { quietly } from './quietly.ts';

const LENGTH_BYTES = 8;
const MAX_HEADER: Bytes = 32 * MIB;

/** Bytes of one element; types that pack several weights into one element say nothing of the weights. */
const ELEMENT_BYTES: ReadonlyMap<string, number> = new Map([
  ['F64', 8],
  ['F32', 4],
  ['F16', 2],
  ['BF16', 2],
  ['F8_E4M3', 1],
  ['F8_E5M2', 1],
  ['I64', 8],
  ['I32', 4],
  ['I16', 2],
  ['I8', 1],
  ['U8', 1],
  ['BOOL', 1],
]);

/** Of the type that takes most of the file; null = the file does not say. */
export async function storedElementBytes(files: Files, path: string): Promise<number | null> {
  const head = await quietly(() => files.readBytes(path, 0, LENGTH_BYTES));
  if (head === undefined || head.length < LENGTH_BYTES) return null;
  const length = Number(new DataView(head.buffer, head.byteOffset, LENGTH_BYTES).getBigUint64(0, true));
  if (length < 2 || length > MAX_HEADER) return null;
  const bytes = await quietly(() => files.readBytes(path, LENGTH_BYTES, length));
  const header = bytes === undefined ? null : parseObject(new TextDecoder().decode(bytes));
  if (header === null) return null;
  const byType = new Map<string, Bytes>();
  for (const name of Object.keys(header)) {
    const tensor = asObject(fieldOf(header, name));
    const type = tensor === null ? null : textAt(tensor, 'dtype');
    const [from, to] = (tensor === null ? null : listAt(tensor, 'data_offsets')) ?? [];
    if (type === null || typeof from !== 'number' || typeof to !== 'number') continue;
    byType.set(type, (byType.get(type) ?? 0) + (to - from));
  }
  const [most] = [...byType].toSorted((a, b) => b[1] - a[1]);
  return most === undefined ? null : (ELEMENT_BYTES.get(most[0]) ?? null);
}

/** From how many elements there are of each type, as the hub counts them. Null = a type that is not known here. */
export function countedElements(
  counts: readonly (readonly [string, number])[],
): { readonly bytes: Bytes; readonly elementBytes: number } | null {
  let total = 0;
  let largest = { bytes: 0, elementBytes: 0 };
  for (const [type, count] of counts) {
    const elementBytes = ELEMENT_BYTES.get(type);
    if (elementBytes === undefined) return null;
    const bytes = count * elementBytes;
    total += bytes;
    if (bytes > largest.bytes) largest = { bytes, elementBytes };
  }
  return total === 0 ? null : { bytes: total, elementBytes: largest.elementBytes };
}
