/** Who may reach what: an open door must have been meant. */
import type { ListenAddress } from '../config.ts';
import { isLoopback, listenText } from '../schema/address-reader.ts';
import { variable } from '../environment.ts';
import { isWritten, type CheckInput } from './check-input.ts';

export function checkAuth(input: CheckInput): void {
  const { config, problems } = input;
  const { server, auth } = config;
  if (auth.keys.length > 0) return;
  const open = [
    ['listen', 'GATEWAY_LISTEN', server.listen],
    ['admin_listen', 'GATEWAY_ADMIN_LISTEN', server.adminListen],
  ] as const;
  for (const [key, name, address] of open) {
    if (!address || isLoopback(address.host)) continue;
    if (auth.explicitNone) noteOpen(input, address);
    else if (!keysAreBroken(input)) {
      const message = `${listenText(address)} is reachable from other machines, and there are no keys; set GATEWAY_API_KEYS or auth.keys, or listen on 127.0.0.1, or say auth: none (GATEWAY_AUTH=none) if everyone may use it`;
      if (key === 'listen' && input.flagged) problems.inFlags('--listen', 'open_listener', message);
      else if (isWritten(input, ['server', key])) problems.inFile('error', ['server', key], 'open_listener', message);
      else problems.inEnvironment('error', name, 'open_listener', message);
    }
  }
}

/** Keys were meant, and what is wrong with them was told. */
function keysAreBroken(input: CheckInput): boolean {
  return input.problems.list.some(
    ({ severity, path }) =>
      severity === 'error' && (path.startsWith('auth') || path === 'GATEWAY_API_KEYS' || path === 'GATEWAY_ADMIN_KEY'),
  );
}

function noteOpen(input: CheckInput, address: ListenAddress): void {
  const { problems, written, config } = input;
  const admin = config.auth.adminKey
    ? ''
    : '; control routes that change something answer 403 until GATEWAY_ADMIN_KEY is set';
  const message = `everyone who reaches ${listenText(address)} may use every model${admin}`;
  // Written into a file it is a decision; from the image's environment it may be news to whoever runs it.
  if (written.auth === 'none') problems.inFile('info', ['auth'], 'open', message);
  else if (variable(input.env, 'GATEWAY_AUTH') !== undefined && !problems.list.some(({ code }) => code === 'open')) {
    problems.inEnvironment(
      'warning',
      'GATEWAY_AUTH',
      'open',
      `is none: ${message}; set GATEWAY_API_KEYS to ask for keys`,
    );
  }
}
