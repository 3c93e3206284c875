/** Reads server-sent events (HTML Living Standard §9.2.6, as far as the gateway writes them). */

export interface ReceivedEvent {
  readonly event: string;
  readonly data: string;
}

export async function* readEvents(pieces: AsyncIterable<string>): AsyncGenerator<ReceivedEvent> {
  let pending = '';
  let event = '';
  let data: string[] = [];
  for await (const piece of pieces) {
    const lines = (pending + piece).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield { event: event === '' ? 'message' : event, data: data.join('\n') };
        event = '';
        data = [];
      } else if (line.startsWith('event: ')) event = line.slice('event: '.length);
      else if (line.startsWith('data: ')) data.push(line.slice('data: '.length));
    }
  }
}
