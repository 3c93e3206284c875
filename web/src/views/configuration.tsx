/** Which configuration is in force, since when, what is wrong with it or with the one that was not taken, and a reload. */
import { useEffect, useState } from 'preact/hooks';
import { effectiveConfig, wordsFor } from '../api.ts';
import { ago, clockTime } from '../format.ts';
import { Problems, rejectedWords } from '../parts/problems.tsx';
import { Reload } from '../parts/reload.tsx';
import type { State } from '../store.ts';

export function Configuration({ state }: { readonly state: State }) {
  const { status, viewer, run } = state;
  if (!status) return null;
  const { source, version, loaded_at: loaded, rejected_at: rejected, problems } = status.config;
  const now = Date.now();
  return (
    <section aria-labelledby="config">
      <h2 id="config">
        Configuration <small>read again when its files change; the old one stays when the new one cannot be used</small>
      </h2>
      <dl class="facts">
        <div>
          <dt>read from</dt>
          <dd>{source ?? 'the environment alone'}</dd>
        </div>
        <div>
          <dt>version</dt>
          <dd>{version}</dd>
        </div>
        <div>
          <dt>in force since</dt>
          <dd title={loaded}>
            {clockTime(loaded)}, {ago(loaded, now)}
          </dd>
        </div>
        {rejected !== null && (
          <div>
            <dt>last change refused</dt>
            <dd class="bad" title={rejected}>
              {clockTime(rejected)}, {ago(rejected, now)}
            </dd>
          </div>
        )}
      </dl>
      {(rejected !== null || problems.length > 0) && (
        <div class={`problems ${rejected === null ? '' : 'rejected'}`}>
          {rejected !== null && <p>{rejectedWords(status.config)}</p>}
          <Problems problems={problems} />
        </div>
      )}
      {problems.length === 0 && <p class="quiet">It has no problems.</p>}
      <Reload key={run} status={status} admin={viewer.admin} />
      {viewer.admin && <Effective version={version} />}
    </section>
  );
}

/** Asked for when somebody opens it, and anew for every version. */
function Effective({ version }: { readonly version: number }) {
  const [open, setOpen] = useState(false);
  const [text, setText] = useState('Asking …');
  useEffect(() => {
    if (!open) return undefined;
    const leaving = new AbortController();
    effectiveConfig(leaving.signal).then(
      (config) => setText(JSON.stringify(config, null, 2)),
      (error: unknown) => {
        if (!leaving.signal.aborted) setText(wordsFor(error));
      },
    );
    return () => leaving.abort();
  }, [open, version]);
  return (
    <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>Everything in force, defaults included</summary>
      <pre class="lines" tabIndex={0} aria-label="The configuration in force">
        {text}
      </pre>
    </details>
  );
}
