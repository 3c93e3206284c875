/** Reads an event stream frame by frame. */

export interface Frame {
  readonly event: string | null;
  /** Null for a comment. */
  readonly data: string | null;
  readonly comment: string | null;
}

export function parseFrame(text: string): Frame {
  const lines = text.split('\n');
  const field = (name: string): string | null => {
    const found = lines
      .filter((line) => line.startsWith(`${name}:`))
      .map((line) => line.slice(name.length + 1).trimStart());
    return found.length === 0 ? null : found.join('\n');
  };
  return { event: field('event'), data: field('data'), comment: field('') };
}

/** Ends when the body does; rejects when it breaks off. */
export async function* framesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Frame, void, undefined> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      yield parseFrame(text.slice(0, end));
      text = text.slice(end + 2);
    }
  }
  if (text.trim() !== '') yield parseFrame(text);
}

export interface StreamEnd {
  readonly frames: readonly Frame[];
  /** The body broke off instead of ending: what came before it is kept. */
  readonly broken: boolean;
}

export async function collectFrames(body: AsyncIterable<Uint8Array>): Promise<StreamEnd> {
  const frames: Frame[] = [];
  try {
    for await (const frame of framesOf(body)) frames.push(frame);
    return { frames, broken: false };
  } catch {
    return { frames, broken: true };
  }
}
