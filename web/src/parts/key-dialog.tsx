/** Where a key is typed in. It stays in this tab, and leaves it as a header only. */
import { useLayoutEffect, useRef } from 'preact/hooks';
import { readKey, writeKey } from '../key.ts';
import { startLive } from '../live.ts';
import { askForKey, change, type State } from '../store.ts';

export function KeyState({ state }: { readonly state: State }) {
  const given = readKey() !== null;
  const { admin } = state.viewer;
  const known = state.status !== null;
  return (
    <button
      type="button"
      class="key"
      title={admin ? 'You may load, unload, pin, reload and read logs' : 'You may look; enter an admin key to steer'}
      onClick={() => askForKey('')}
    >
      {known ? (admin ? 'Operator' : 'Read-only') : given ? 'Key set' : 'No key'}
      <span class="unseen">: enter or forget a key</span>
    </button>
  );
}

function save(key: string | null): void {
  writeKey(key);
  change({ keyDialog: null, connection: { kind: 'connecting' } });
  startLive();
}

export function KeyDialog({ asked }: { readonly asked: State['keyDialog'] }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const input = useRef<HTMLInputElement>(null);
  // Before it is painted: a key typed at once goes into it.
  useLayoutEffect(() => {
    if (asked) {
      if (input.current) input.current.value = '';
      dialog.current?.showModal();
    } else dialog.current?.close();
  }, [asked]);
  const submit = (event: Event): void => {
    event.preventDefault();
    const key = input.current?.value.trim() ?? '';
    if (key !== '') save(key);
  };
  return (
    <dialog ref={dialog} aria-labelledby="key-title" onClose={() => change({ keyDialog: null })}>
      <form onSubmit={submit}>
        <h2 id="key-title">Key</h2>
        {asked && asked.reason !== '' && <p>{asked.reason}</p>}
        <label>
          API key or admin key
          <input ref={input} type="password" autocomplete="off" spellcheck={false} required />
        </label>
        <p class="quiet">Kept for this tab only, sent as a header to this gateway only.</p>
        <div class="actions">
          <button type="submit" class="primary">
            Use this key
          </button>
          {readKey() !== null && (
            <button type="button" onClick={() => save(null)}>
              Forget the key
            </button>
          )}
          <button type="button" onClick={() => change({ keyDialog: null })}>
            Cancel
          </button>
        </div>
      </form>
    </dialog>
  );
}
