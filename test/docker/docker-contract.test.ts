import { afterAll, beforeAll, describe } from 'vitest';
import { driverContract } from '../contract/driver-contract.ts';
import { dockerHere, startDaemon, type DockerDaemon } from '../support/docker-daemon.ts';
import { dockerHarness } from './docker-harness.ts';

describe.runIf(dockerHere())('on a real daemon', () => {
  let daemon: DockerDaemon;

  beforeAll(async () => {
    daemon = await startDaemon();
    await daemon.loadFakeVllmImage();
  });
  afterAll(async () => {
    await daemon.stop();
  });

  driverContract('docker', () => dockerHarness(daemon));
});
