/** One field of a form. */
export interface Part {
  readonly name: string;
  readonly filename: string | undefined;
  readonly data: Buffer;
}

/** Parts of a `multipart/form-data` body; undefined when it is none. */
export function readMultipart(contentType: string, body: Buffer): Part[] | undefined {
  const match = /^multipart\/form-data;.*boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) return undefined;
  const marker = Buffer.from(`--${boundary}`);
  const parts: Part[] = [];
  let start = body.indexOf(marker);
  while (start !== -1) {
    const from = start + marker.length + 2;
    const next = body.indexOf(marker, from);
    if (next === -1) break;
    const part = readPart(body.subarray(from, next - 2));
    if (part !== undefined) parts.push(part);
    start = next;
  }
  return parts;
}

function readPart(section: Buffer): Part | undefined {
  const split = section.indexOf('\r\n\r\n');
  if (split === -1) return undefined;
  const head = section.subarray(0, split).toString('utf8');
  const name = /[;\s]name="([^"]*)"/i.exec(head)?.[1];
  if (name === undefined) return undefined;
  return { name, filename: /filename="([^"]*)"/i.exec(head)?.[1], data: section.subarray(split + 4) };
}
