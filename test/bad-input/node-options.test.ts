/** Class V: what Node is told from outside must not loosen the parser. */
import { expect, it } from 'vitest';
import { startGateway } from '../support/gateway-process.ts';
import { codeOf } from './bench.ts';
import { talk } from './client.ts';
import { chunked, ONE_CHUNK, withLength } from './write-bytes.ts';

const YAML = 'devices: { probe: none }\nmodels: { near: { repo: near, url: "http://127.0.0.1:1" } }';
const LONG = 'a'.repeat(17_000);

it('[B197] Node’s lenient parser and its bound on heads are not those of the gateway, whatever Node is started with', async () => {
  await using gateway = await startGateway({
    yaml: YAML,
    env: { NODE_OPTIONS: '--insecure-http-parser --max-http-header-size=1000000' },
  });
  const port = Number(new URL(gateway.url).port);
  const told: unknown[] = [];
  for (const bytes of [
    withLength('Transfer-Encoding: chunked'),
    withLength('X: a', ' b'),
    withLength('X: a\u0001b'),
    chunked(`${ONE_CHUNK}0\r\n\r\n`, 'Transfer-Encoding: chunked, gzip'),
    withLength(`X: ${LONG}`),
  ]) {
    const { answers, end } = await talk({ port, pieces: [Buffer.from(bytes)], next: () => 'wait' });
    told.push([...answers.map((answer) => [answer.status, codeOf(answer)]), end]);
  }
  const refused = [[400, 'invalid_body'], 'closed'];
  expect(told).toEqual([refused, refused, refused, refused, [[431, 'header_too_large'], 'closed']]);
});
