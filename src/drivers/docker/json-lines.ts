/** The daemon's streams of JSON objects, one per line. */

/** No object of the daemon is longer; what is comes from something else. */
const MAX_LINE = 1024 * 1024;

/** What is no JSON object is left out: it says nothing that could be acted on. */
export async function* jsonLines(
  stream: AsyncIterable<Uint8Array>,
): AsyncGenerator<Readonly<Record<string, unknown>>, void, undefined> {
  const decoder = new TextDecoder();
  let pending = '';
  for await (const chunk of stream) {
    pending += decoder.decode(chunk, { stream: true });
    const lines = pending.split('\n');
    pending = lines.pop() ?? '';
    if (pending.length > MAX_LINE) throw new Error('the daemon sends a line without end');
    for (const line of lines) {
      const value = parse(line);
      if (value !== undefined) yield value;
    }
  }
  const value = parse(pending);
  if (value !== undefined) yield value;
}

function parse(line: string): Readonly<Record<string, unknown>> | undefined {
  if (line.trim() === '') return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}
