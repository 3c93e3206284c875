/** A playground: one conversation with one model, streamed. Nothing of it is kept. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { ask, Refusal } from '../api.ts';
import { complete, type Message } from '../completion.ts';
import { duration, plural } from '../format.ts';
import { askForKey, type State } from '../store.ts';

interface Turn {
  readonly asking: boolean;
  readonly note: string;
  readonly trouble: string | null;
  readonly key: boolean;
}

const QUIET: Turn = { asking: false, note: '', trouble: null, key: false };

/** Whoever may not see the status may still ask models: the list of them is theirs to see. */
function useModels(state: State): readonly string[] {
  const [listed, setListed] = useState<readonly string[]>([]);
  const refused = state.connection.kind === 'refused';
  useEffect(() => {
    if (!refused) return undefined;
    const leaving = new AbortController();
    ask('/v1/models', { signal: leaving.signal })
      .then((response) => response.json() as Promise<{ readonly data: readonly { readonly id: string }[] }>)
      .then(
        ({ data }) => setListed(data.map(({ id }) => id)),
        () => setListed([]),
      );
    return () => leaving.abort();
  }, [refused]);
  return refused ? listed : Object.keys(state.status?.models ?? {});
}

interface Conversation {
  readonly messages: readonly Message[];
  readonly turn: Turn;
  send(model: string, text: string): Promise<void>;
  stop(): void;
  clear(): void;
}

function useConversation(): Conversation {
  const [messages, setMessages] = useState<readonly Message[]>([]);
  const [turn, setTurn] = useState<Turn>(QUIET);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  const send = async (model: string, text: string): Promise<void> => {
    const began = performance.now();
    const seconds = (): string => duration((performance.now() - began) / 1000);
    const asked: readonly Message[] = [...messages, { role: 'user', content: text }];
    const stopping = new AbortController();
    running.current = stopping;
    let answer = '';
    let parts = 0;
    let first = '';
    setMessages(asked);
    setTurn({ ...QUIET, asking: true, note: 'waiting for the first token' });
    const told = {
      alive: () => {
        if (parts === 0) setTurn({ ...QUIET, asking: true, note: `waiting for the first token, ${seconds()}` });
      },
      text: (part: string) => {
        if (parts === 0) first = seconds();
        parts += 1;
        answer += part;
        setMessages([...asked, { role: 'assistant', content: answer }]);
        setTurn({ ...QUIET, asking: true, note: `first token after ${first}` });
      },
    };
    try {
      await complete(model, asked, told, stopping.signal);
      setTurn({
        ...QUIET,
        note: `${plural(parts, 'part')}, first after ${first || seconds()}, all after ${seconds()}`,
      });
    } catch (error) {
      if (stopping.signal.aborted) setTurn({ ...QUIET, note: 'stopped' });
      else setTurn({ ...QUIET, ...troubleOf(error) });
    }
  };
  return {
    messages,
    turn,
    send,
    stop: () => running.current?.abort(),
    clear: () => {
      running.current?.abort();
      setMessages([]);
      setTurn(QUIET);
    },
  };
}

function troubleOf(error: unknown): Pick<Turn, 'trouble' | 'key'> {
  if (error instanceof Refusal) return { trouble: error.message, key: error.status === 401 || error.status === 403 };
  return { trouble: error instanceof Error ? error.message : String(error), key: false };
}

export function Chat({ state, model }: { readonly state: State; readonly model: string | null }) {
  const models = useModels(state);
  const { messages, turn, send, stop, clear } = useConversation();
  const chosen = model ?? models[0] ?? '';
  const cold = state.status?.models[chosen]?.state === 'cold';
  return (
    <section class="chat" aria-labelledby="chat">
      <div class="head">
        <h2 id="chat">
          Chat{' '}
          <small>{cold ? 'this model is cold: the first answer waits for its start' : 'nothing of it is kept'}</small>
        </h2>
        <label>
          Model
          <select
            value={chosen}
            onChange={(event) => {
              location.hash = `#/chat/${encodeURIComponent(event.currentTarget.value)}`;
            }}
          >
            {models.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      </div>
      <Messages messages={messages} model={chosen} />
      <p class="note" role="status">
        {turn.note}
      </p>
      {turn.trouble !== null && (
        <p class="trouble" role="alert">
          {turn.trouble}{' '}
          {turn.key && (
            <button type="button" class="link" onClick={() => askForKey(turn.trouble ?? '')}>
              Enter a key
            </button>
          )}
        </p>
      )}
      <Prompt
        asking={turn.asking}
        send={(text) => {
          if (chosen !== '') void send(chosen, text);
        }}
        stop={stop}
        clear={messages.length > 0 ? clear : null}
      />
    </section>
  );
}

function Messages({ messages, model }: { readonly messages: readonly Message[]; readonly model: string }) {
  return (
    <ol class="messages">
      {messages.map(({ role, content }, index) => (
        // Messages are only ever added at the end.
        <li key={index} class={role}>
          <span class="speaker">{role === 'user' ? 'you' : model}</span>
          <div>{content}</div>
        </li>
      ))}
    </ol>
  );
}

interface PromptProps {
  readonly asking: boolean;
  readonly send: (text: string) => void;
  readonly stop: () => void;
  /** Null: there is nothing to clear. */
  readonly clear: (() => void) | null;
}

function Prompt({ asking, send, stop, clear }: PromptProps) {
  const [text, setText] = useState('');
  const submit = (event: Event): void => {
    event.preventDefault();
    if (asking || text.trim() === '') return;
    setText('');
    send(text.trim());
  };
  return (
    <form class="prompt" onSubmit={submit}>
      <label class="unseen" for="prompt">
        Message
      </label>
      <textarea
        id="prompt"
        rows={2}
        value={text}
        placeholder="Ask something. Enter sends, Shift and Enter breaks the line."
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(event);
        }}
      />
      <div class="actions">
        {asking ? (
          <button type="button" onClick={stop}>
            Stop
          </button>
        ) : (
          <button type="submit" class="primary">
            Send
          </button>
        )}
        {clear && (
          <button type="button" onClick={clear}>
            Clear
          </button>
        )}
      </div>
    </form>
  );
}
