/** The frame around every view: who this is, how it is, where to go. */
import { useEffect, useState } from 'preact/hooks';
import { ConnectionNote, Refused } from './parts/connection.tsx';
import { KeyDialog, KeyState } from './parts/key-dialog.tsx';
import { duration } from './format.ts';
import { useStore, type State } from './store.ts';
import { THEMES, useTheme } from './theme.ts';
import { Chat } from './views/chat.tsx';
import { Configuration } from './views/configuration.tsx';
import { Logs } from './views/logs.tsx';
import { Overview } from './views/overview.tsx';
import { Plan } from './views/plan.tsx';
import { Timeline } from './views/timeline.tsx';

const VIEWS = [
  { name: 'overview', title: 'Overview' },
  { name: 'plan', title: 'Plan' },
  { name: 'events', title: 'Events' },
  { name: 'logs', title: 'Logs' },
  { name: 'chat', title: 'Chat' },
  { name: 'config', title: 'Config' },
] as const;

export interface Place {
  readonly view: (typeof VIEWS)[number]['name'];
  /** Of a model or a replica: `#/plan/llama-8b`. */
  readonly subject: string | null;
}

function placeOf(hash: string): Place {
  const [, name = '', ...rest] = hash.split('/');
  const view = VIEWS.find((known) => known.name === name)?.name ?? 'overview';
  return { view, subject: rest.length === 0 ? null : decodeURIComponent(rest.join('/')) };
}

function usePlace(): Place {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const moved = (): void => setHash(location.hash);
    addEventListener('hashchange', moved);
    return () => removeEventListener('hashchange', moved);
  }, []);
  return placeOf(hash);
}

export function App() {
  const state = useStore();
  const place = usePlace();
  const title = VIEWS.find(({ name }) => name === place.view)?.title ?? '';
  useEffect(() => {
    document.title = `${title} · vLLM Gateway`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#main" onClick={skipTo}>
        Skip to content
      </a>
      <Header state={state} place={place} />
      <main id="main" tabIndex={-1}>
        <h1 class="unseen">{title}</h1>
        <View state={state} place={place} />
      </main>
      <Footer state={state} />
      <KeyDialog asked={state.keyDialog} />
    </>
  );
}

/** By hand: the part of the address behind `#` says which view is shown. */
function skipTo(event: MouseEvent): void {
  event.preventDefault();
  document.querySelector<HTMLElement>('#main')?.focus();
}

function View({ state, place }: { readonly state: State; readonly place: Place }) {
  if (state.connection.kind === 'refused' && place.view !== 'chat') return <Refused refused={state.connection} />;
  if (!state.status && place.view !== 'chat') return <p class="quiet waiting">Waiting for the gateway …</p>;
  switch (place.view) {
    case 'plan':
      return <Plan state={state} model={place.subject} />;
    case 'events':
      return <Timeline state={state} model={place.subject} />;
    case 'logs':
      return <Logs state={state} replica={place.subject} />;
    case 'chat':
      return <Chat state={state} model={place.subject} />;
    case 'config':
      return <Configuration state={state} />;
    case 'overview':
      return <Overview state={state} />;
  }
}

function Header({ state, place }: { readonly state: State; readonly place: Place }) {
  return (
    <header>
      <div class="bar">
        <a class="brand" href="#/overview">
          <span class="mark" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          vLLM Gateway
        </a>
        <ConnectionNote state={state} />
        <span class="spring" />
        <KeyState state={state} />
        <ThemeSwitch />
      </div>
      <nav aria-label="Views">
        {VIEWS.map(({ name, title }) => (
          <a key={name} href={`#/${name}`} aria-current={place.view === name ? 'page' : undefined}>
            {title}
            {name === 'config' && state.status?.config.rejected_at && (
              <b class="mark-bad">
                {' '}
                !<span class="unseen"> changed, and cannot be used</span>
              </b>
            )}
          </a>
        ))}
      </nav>
    </header>
  );
}

function ThemeSwitch() {
  const [theme, choose] = useTheme();
  return (
    <label class="theme">
      <span class="unseen">Colours</span>
      <select
        value={theme}
        onChange={(event) => choose(THEMES.find((name) => name === event.currentTarget.value) ?? 'auto')}
      >
        <option value="auto">Auto</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </label>
  );
}

function Footer({ state }: { readonly state: State }) {
  const { status } = state;
  return (
    <footer>
      {status && (
        <span>
          {status.gateway.version} · gateway <code>{status.gateway.id}</code> · up {duration(status.gateway.uptime_s)}
        </span>
      )}
      {status?.config.source && (
        <span>
          <a href="#/config">config</a> <code>{status.config.source}</code>, version {status.config.version}
        </span>
      )}
      <span class="spring" />
      <span>For programs: /gateway/status · /metrics · /v1/models</span>
    </footer>
  );
}
