/** Requests from start to end, in every way that a request can go: what is aborted at each of its steps. */
import { chunk, DONE, EVENT, PLAIN, post, STREAM, STREAM_HEAD, whole } from './relay-bench.ts';
import type { End, RelayBench, RelayOptions } from './relay-bench.ts';

export interface Story {
  readonly name: string;
  readonly options?: RelayOptions;
  /** Sets the world going; everything that follows is the world's time. */
  readonly tell: (bench: RelayBench) => void;
}

/** Pieces with a moment between them. */
function inTurn(bench: RelayBench, acts: readonly (() => void)[]): void {
  for (const [index, act] of acts.entries()) bench.after(10 * (index + 1), act);
}

function streams(bench: RelayBench): (end: End) => void {
  return ({ far }) => {
    const send = (text: string) => () => void far.send(text);
    inTurn(bench, [send(STREAM_HEAD), send(chunk(EVENT)), send(chunk(EVENT + DONE)), send('0\r\n\r\n')]);
  };
}

function answers(bench: RelayBench, text: string): (end: End) => void {
  return ({ far }) => bench.after(10, () => void far.send(text));
}

/** The first request goes as `first` says, those after it are answered. */
function thenAnswers(bench: RelayBench, first: (end: End) => void): (end: End) => void {
  let asked = 0;
  return (end) => {
    asked += 1;
    if (asked === 1) first(end);
    else answers(bench, whole(200, '{"id":1}'))(end);
  };
}

const WAITS = { keepalive: { after: 300, every: 300 } };

export const STORIES: readonly Story[] = [
  {
    name: 'a stream on a connection that serves again',
    tell: (bench) => {
      bench.onRequest = streams(bench);
      const client = bench.client();
      client.far.send(post(STREAM));
      bench.after(100, () => void client.far.send(post(STREAM)));
    },
  },
  {
    name: 'a plain answer to a body in pieces, with leave to send it',
    tell: (bench) => {
      bench.onRequest = answers(bench, whole(200, '{"id":1}'));
      const client = bench.client();
      const text = post(PLAIN, 'expect: 100-continue');
      client.far.send(text.slice(0, -20));
      bench.after(20, () => void client.far.send(text.slice(-20)));
    },
  },
  {
    name: 'a body of which more comes at once than one turn looks at',
    options: { windowBytes: 300_000 },
    tell: (bench) => {
      bench.onRequest = answers(bench, whole(200, '{"id":1}'));
      const client = bench.client();
      const text = post(`{"user":"${'x'.repeat(270_000)}",${PLAIN.slice(1)}`);
      client.far.send(text.slice(0, 265_000));
      client.far.send(text.slice(265_000));
    },
  },
  {
    name: 'a stream that waits, with heartbeats',
    options: { model: WAITS },
    tell: (bench) => {
      bench.gate.decide = () => 'wait';
      bench.onRequest = streams(bench);
      bench.client().far.send(post(STREAM));
      bench.after(1_000, () => bench.grantNext());
    },
  },
  {
    name: 'a request that is refused while it waits',
    tell: (bench) => {
      bench.gate.decide = () => 'wait';
      bench.client().far.send(post(PLAIN));
      bench.after(30, () => bench.refuseWaiting('queue_timeout'));
    },
  },
  {
    name: 'an engine that refuses the first connection',
    tell: (bench) => {
      bench.listening = false;
      bench.onRequest = answers(bench, whole(200, '{"id":1}'));
      bench.client().far.send(post(PLAIN));
      bench.after(20, () => {
        bench.listening = true;
      });
    },
  },
  {
    name: 'an engine that takes no connection',
    tell: (bench) => {
      bench.listening = false;
      bench.client().far.send(post(PLAIN));
    },
  },
  {
    name: 'an engine to which no connection is made in time',
    tell: (bench) => {
      bench.swallows = true;
      bench.onRequest = answers(bench, whole(200, '{"id":1}'));
      bench.client().far.send(post(PLAIN));
      bench.after(1_000, () => {
        bench.swallows = false;
      });
    },
  },
  {
    name: 'a connection that had served and is reset',
    tell: (bench) => {
      bench.onRequest = (end) => {
        if (end.text.split('POST ').length === 3) bench.after(10, () => end.far.cut());
        else answers(bench, whole(200, '{"id":1}'))(end);
      };
      const client = bench.client();
      client.far.send(post(PLAIN));
      bench.after(60, () => void client.far.send(post(PLAIN)));
    },
  },
  {
    name: 'an engine that goes down and another one that answers',
    tell: (bench) => {
      const down = whole(500, '{"error":{"message":"EngineCore encountered an issue"}}');
      bench.onRequest = thenAnswers(bench, answers(bench, down));
      bench.client().far.send(post(PLAIN));
      bench.after(60, () => bench.grantNext());
    },
  },
  {
    name: 'an engine that cuts the connection before it answers',
    tell: (bench) => {
      bench.onRequest = ({ far }) => bench.after(10, () => far.cut());
      bench.client().far.send(post(PLAIN));
    },
  },
  {
    name: 'a stream that breaks off',
    tell: (bench) => {
      bench.onRequest = ({ far }) => {
        inTurn(bench, [() => void far.send(STREAM_HEAD), () => void far.send(chunk(EVENT)), () => far.cut()]);
      };
      bench.client().far.send(post(STREAM));
    },
  },
  {
    name: 'a client that reads slowly',
    options: { windowBytes: 64 },
    tell: (bench) => {
      const large = `data: ${'x'.repeat(40_000)}\n\n`;
      bench.onRequest = ({ far }) => {
        const send = (text: string) => () => void far.send(text);
        inTurn(bench, [
          send(STREAM_HEAD),
          send(chunk(large)),
          send(chunk(large)),
          send(chunk(DONE)),
          send('0\r\n\r\n'),
        ]);
      };
      const client = bench.client();
      client.far.send(post(STREAM));
      client.far.pauseReading();
      bench.after(200, () => client.far.resumeReading());
    },
  },
  {
    name: 'two requests behind each other, and room for both answers',
    tell: (bench) => {
      bench.onRequest = answers(bench, whole(200, '{"id":1}'));
      bench.client().far.send(post(PLAIN) + post(PLAIN));
    },
  },
  {
    name: 'two requests behind each other, and large errors of the engine',
    options: { windowBytes: 64 },
    tell: (bench) => {
      bench.onRequest = answers(bench, whole(400, `{"error":{"message":"${'x'.repeat(30_000)}"}}`));
      const client = bench.client();
      client.far.pauseReading();
      client.far.send(post(PLAIN) + post(PLAIN));
      bench.after(200, () => client.far.resumeReading());
    },
  },
  {
    name: 'a request that is refused before its body has come',
    tell: (bench) => {
      const client = bench.client();
      client.stays = true;
      client.far.send('POST /v1/nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 400000\r\n\r\nx');
      bench.after(30, () => void client.far.send('y'.repeat(1_000)));
    },
  },
  {
    name: 'an engine that says nothing',
    tell: (bench) => {
      bench.client().far.send(post(STREAM));
      bench.after(6_000, () => undefined);
    },
  },
  {
    name: 'a gate that grants more than there are connections',
    options: { upstream: { connections: 0 } },
    tell: (bench) => {
      bench.client().far.send(post(PLAIN));
    },
  },
  {
    name: 'a request of the control plane',
    tell: (bench) => {
      bench.client().far.send('GET /control HTTP/1.1\r\nhost: localhost\r\n\r\n');
    },
  },
  {
    name: 'a request of the control plane that is answered before its body has come',
    tell: (bench) => {
      bench.client().far.send('POST /control HTTP/1.1\r\nhost: localhost\r\ncontent-length: 400000\r\n\r\nx');
    },
  },
];
