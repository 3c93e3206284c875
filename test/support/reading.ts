/** Reads until the text is there; the rest of the answer may be far away. */
export async function readUntil(answer: Response, text: string): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  let seen = '';
  while (!seen.includes(text)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the answer ended at ${seen}`);
    seen += Buffer.from(value).toString();
  }
  return reader;
}

/** Everything that came before the connection broke. */
export async function readBroken(answer: Response): Promise<{ text: string; whole: boolean }> {
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  let text = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return { text, whole: true };
      text += Buffer.from(value).toString();
    }
  } catch {
    return { text, whole: false };
  }
}
