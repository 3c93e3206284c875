/** How the gateway is, how the page hears of it, and what to do where it may not. */
import { askForKey, type Connection, type State } from '../store.ts';

export function ConnectionNote({ state }: { readonly state: State }) {
  const { tone, text } = noteOf(state);
  return (
    <p class={`connection ${tone}`} role="status">
      <i class="dot" aria-hidden="true" />
      {text}
    </p>
  );
}

const GATEWAY_WORDS = { ready: 'ready', degraded: 'degraded', not_ready: 'not ready', draining: 'shutting down' };

function noteOf({ connection, status }: State): { readonly tone: string; readonly text: string } {
  switch (connection.kind) {
    case 'connecting':
      return { tone: 'idle', text: 'connecting' };
    case 'reconnecting':
      return { tone: 'warn', text: status ? 'reconnecting, as last heard' : 'reconnecting' };
    case 'refused':
      return { tone: 'bad', text: connection.status === 401 ? 'key needed' : 'refused' };
    case 'live': {
      const state = status?.gateway.state ?? 'ready';
      return { tone: state === 'ready' ? 'good' : 'warn', text: GATEWAY_WORDS[state] };
    }
  }
}

export function Refused({ refused }: { readonly refused: Extract<Connection, { kind: 'refused' }> }) {
  const { status, message } = refused;
  return (
    <section class="refused">
      <h2>{titleOf(status)}</h2>
      <p>{message}</p>
      <p class="quiet">{remedyOf(status)}</p>
      {status !== 404 && (
        <button type="button" class="primary" onClick={() => askForKey('')}>
          Enter a key
        </button>
      )}
    </section>
  );
}

function titleOf(status: number): string {
  if (status === 401) return 'This gateway asks for a key';
  if (status === 403) return 'This key may not look here';
  return status === 404 ? 'The control plane is elsewhere' : 'The gateway refused';
}

function remedyOf(status: number): string {
  if (status === 404) return 'With server.admin_listen set, open the dashboard at that address.';
  if (status === 403)
    return 'Status and events need a key with the role metrics or admin. Chat works with an inference key.';
  return 'A key with the role metrics shows everything; one with the role admin may also load, unload, pin, reload and read logs.';
}
