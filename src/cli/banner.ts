/** What `demo` says first: where it listens, and one line to paste. */
import type { Config, ListenAddress } from '../config/config.ts';
import type { OutputStream } from './world.ts';

/** An address to connect to: where every interface is listened on, loopback is one of them. */
export function urlOf({ host, port }: ListenAddress): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

/** A chat request to the first model, ready to paste. */
export function curlLine(url: string, model: string, keyed: boolean): string {
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] });
  const key = keyed ? ` -H 'authorization: Bearer YOUR_KEY'` : '';
  return `curl ${url}/v1/chat/completions -H 'content-type: application/json'${key} -d '${body.replaceAll("'", String.raw`'\''`)}'`;
}

export function demoBanner(config: Config, listen: ListenAddress, version: string, out: OutputStream): string {
  const url = urlOf(listen);
  const names = [...config.models.keys()];
  const keyed = config.auth.keys.length > 0;
  const devices = config.devices.list.map(({ id }) => id).join(', ');
  return [
    '',
    `  ${out.style('bold', `vLLM Gateway ${version}`)} · demo`,
    '',
    `  Listening on ${out.style('cyan', url)}`,
    `  Models ${names.join(', ')}; simulated devices ${devices}, where not all of them fit at once.`,
    '  The engines are simulated: real processes that load and answer like vLLM, with made-up texts.',
    '',
    '  Try it (the first answer waits until the model is loaded; ask for another model to see them take turns):',
    `  ${out.style('green', curlLine(url, names[0] ?? 'MODEL', keyed))}`,
    '',
    `  Watch it:  ${url}/`,
    '  Stop it:   Ctrl+C',
    '',
    '',
  ].join('\n');
}
