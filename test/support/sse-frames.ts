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
export async function* framesOf(response: Response): AsyncGenerator<Frame, void, undefined> {
  if (!response.body) return;
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      yield parseFrame(text.slice(0, end));
      text = text.slice(end + 2);
    }
  }
  if (text.trim() !== '') yield parseFrame(text);
}

/** All frames; what came before a break is kept and the break is told. */
export async function collectFrames(
  response: Response,
): Promise<{ readonly frames: readonly Frame[]; readonly broken: boolean }> {
  const frames: Frame[] = [];
  try {
    for await (const frame of framesOf(response)) frames.push(frame);
    return { frames, broken: false };
  } catch {
    return { frames, broken: true };
  }
}
