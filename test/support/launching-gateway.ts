/** A process that launches one engine and waits to be killed: what is left of a gateway when only drivers matter. */
import { ProcessDriver } from '../../src/drivers/process/process-driver.ts';
import { createPlatform } from '../../src/platform/system.ts';

const [stateDir = '', gatewayId = '', port = '0'] = process.argv.slice(2);
const driver = new ProcessDriver({ platform: createPlatform(), stateDir, gatewayId });
const engine = 'let line = 0; setInterval(() => process.stdout.write(`line ${line++}\\n`), 10);';
const identity = { id: 'one-1', generation: 1, model: 'm', specHash: 'h', reservations: new Map<string, number>() };
setInterval(() => {}, 60_000);
await driver.launch(
  {
    argv: [process.execPath, '-e', engine],
    env: {},
    host: '127.0.0.1',
    port: Number(port),
    url: null,
    deviceUuids: null,
    container: null,
  },
  identity,
);
