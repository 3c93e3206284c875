/** The log of one engine, as it is written. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { ask, Refusal, wordsFor } from '../api.ts';
import { endedReplicas, replicaOf } from '../replicas.ts';
import { askForKey, type State } from '../store.ts';

const TAIL = 300;
const KEPT_LINES = 2_000;
/** Pixels from the end that still count as the end. */
const NEAR_END = 40;

interface Log {
  readonly lines: readonly string[];
  readonly trouble: string | null;
  readonly ended: boolean;
}

const EMPTY: Log = { lines: [], trouble: null, ended: false };

/** Followed until the engine ends, or the reader turns away. */
function useLog(replica: string | null, allowed: boolean): Log {
  const [log, setLog] = useState<Log>(EMPTY);
  useEffect(() => {
    setLog(EMPTY);
    if (replica === null || !allowed) return undefined;
    const leaving = new AbortController();
    const add = (more: readonly string[]): void =>
      setLog((before) => ({ ...before, lines: [...before.lines, ...more].slice(-KEPT_LINES) }));
    read(replica, leaving.signal, add).then(
      () => setLog((before) => ({ ...before, ended: true })),
      (error: unknown) => {
        if (!leaving.signal.aborted) setLog((before) => ({ ...before, ended: true, trouble: troubleOf(error) }));
      },
    );
    return () => leaving.abort();
  }, [replica, allowed]);
  return log;
}

/** A connection that broke off in the middle is an end, not a fault. */
function troubleOf(error: unknown): string | null {
  return error instanceof Refusal ? wordsFor(error) : null;
}

async function read(replica: string, signal: AbortSignal, add: (lines: readonly string[]) => void): Promise<void> {
  const path = `/gateway/replicas/${encodeURIComponent(replica)}/logs?tail=${TAIL}&follow=true`;
  const { body } = await ask(path, { signal });
  if (!body) return;
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (lines.length > 0) add(lines);
  }
}

export function Logs({ state, replica }: { readonly state: State; readonly replica: string | null }) {
  const replicas = Object.entries(state.status?.replicas ?? {});
  const names = replicas.map(([id]) => id);
  const ended = endedReplicas(state.decisions, state.status, state.run);
  const chosen = replica === null ? (names[0] ?? ended[0] ?? null) : replicaOf(replica, state.status, ended);
  const log = useLog(chosen, state.viewer.admin);
  return (
    <section class="logs" aria-labelledby="logs">
      <div class="head">
        <h2 id="logs">
          Log <small>{chosen === null ? 'of an engine' : log.ended ? 'has ended' : 'followed'}</small>
        </h2>
        <label>
          Engine
          <select
            value={chosen ?? ''}
            onChange={(event) => {
              location.hash = `#/logs/${encodeURIComponent(event.currentTarget.value)}`;
            }}
          >
            {chosen !== null && !names.includes(chosen) && !ended.includes(chosen) && (
              <option value={chosen}>{chosen} (gone)</option>
            )}
            {replicas.map(([id, { state: phase }]) => (
              <option key={id} value={id}>
                {id} ({phase})
              </option>
            ))}
            {ended.length > 0 && (
              <optgroup label="ended">
                {ended.map((id) => (
                  <option key={id} value={id}>
                    {id}
                  </option>
                ))}
              </optgroup>
            )}
            {chosen === null && <option value="">none runs</option>}
          </select>
        </label>
      </div>
      {!state.viewer.admin && (
        <p class="trouble">
          Logs may hold anything an engine prints, so they need an admin key.{' '}
          <button type="button" class="link" onClick={() => askForKey('Logs need an admin key.')}>
            Enter a key
          </button>
        </p>
      )}
      {log.trouble !== null && <p class="trouble">{log.trouble}</p>}
      <Lines lines={log.lines} />
    </section>
  );
}

function Lines({ lines }: { readonly lines: readonly string[] }) {
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const element = box.current;
    if (element && atEnd.current) element.scrollTop = element.scrollHeight;
  }, [lines]);
  return (
    <pre
      ref={box}
      class="lines"
      tabIndex={0}
      aria-label="Lines of the log"
      role="log"
      aria-live="off"
      onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
        atEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_END;
      }}
    >
      {lines.length === 0 ? 'No line yet.' : lines.join('\n')}
    </pre>
  );
}
