/** Lines of text as a response body, pulled as fast as the client reads. */
import { KIB } from '../units.ts';

const BUFFER = 64 * KIB;

/** `stop` ends the source; it is called when the client leaves. `failed` hears why a source broke off. */
export function openLineStream(
  lines: AsyncIterable<string>,
  stop: () => void,
  failed: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const iterator = lines[Symbol.asyncIterator]();
  let left = false;
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const next = await iterator.next();
          // Who has left closed it, and made the source end.
          if (left) return;
          if (next.done) controller.close();
          else controller.enqueue(encoder.encode(`${next.value}\n`));
        } catch (error) {
          // The status is out: the text ends here.
          failed(error);
          if (!left) controller.close();
        }
      },
      cancel: () => {
        left = true;
        stop();
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: BUFFER }),
  );
}
