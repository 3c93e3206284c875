/**
 * Docker's HEALTHCHECK: does the gateway of this container answer `GET /healthz`? Where it listens is what its
 * configuration says (GATEWAY_URL goes before, for a gateway that is told otherwise by arguments).
 */
import process from 'node:process';
import { urlOf } from '../dist/src/cli/banner.js';
import { loadConfig } from '../dist/src/config/load.js';
import { createPlatform } from '../dist/src/platform/system.js';
import { dropPrivileges } from './drop-privileges.mjs';

const USER = { uid: 10_001, gid: 10_001 };
const PATIENCE_MS = 5_000;
const LISTENS_BY_DEFAULT = { host: '127.0.0.1', port: 9000 };

async function address() {
  const { GATEWAY_URL: given } = process.env;
  if (given) return given;
  const { files } = createPlatform();
  const { config } = await loadConfig({ flags: {}, env: process.env, files, cwd: process.cwd() });
  return urlOf(config?.server.listen ?? LISTENS_BY_DEFAULT);
}

if (process.getuid() === 0) dropPrivileges(USER, []);
const url = new URL('/healthz', await address());
const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
process.stdout.write(`${url} answers ${response.status}\n`);
process.exit(response.ok ? 0 : 1);
