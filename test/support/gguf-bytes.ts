/** Writes heads of GGUF files, version 3: magic, counts, key-value pairs. */

export type GgufPairs = Readonly<Record<string, number | string | boolean | readonly (number | string | boolean)[]>>;

const TYPES = { u32: 4, f32: 6, flag: 7, text: 8, list: 9 } as const;

export function ggufBytes(pairs: GgufPairs, claimedCount = Object.keys(pairs).length): Buffer {
  const parts = [Buffer.from('GGUF'), u32(3), u64(0), u64(claimedCount)];
  for (const [key, value] of Object.entries(pairs)) parts.push(text(key), ...typed(value));
  return Buffer.concat(parts);
}

function typed(value: GgufPairs[string]): Buffer[] {
  if (typeof value === 'object') {
    const items = value.map(typed);
    return [
      u32(TYPES.list),
      items[0]?.[0] ?? u32(TYPES.u32),
      u64(value.length),
      ...items.map((item) => Buffer.concat(item.slice(1))),
    ];
  }
  if (typeof value === 'string') return [u32(TYPES.text), text(value)];
  if (typeof value === 'boolean') return [u32(TYPES.flag), Buffer.from([value ? 1 : 0])];
  return Number.isInteger(value) ? [u32(TYPES.u32), u32(value)] : [u32(TYPES.f32), f32(value)];
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
