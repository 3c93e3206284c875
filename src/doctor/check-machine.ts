/**
 * What `check` adds to the problems of the text: what on this machine stands against the configuration. It is quick,
 * starts nothing, and asks nobody outside. What `serve` would refuse is an error; what it waits for (Docker) is told as
 * information, as the configuration may be right and meant for another machine.
 */
import type { Config, ConfigProblem, Severity } from '../config/config.ts';
import { isFinding, lookForDaemon, usesDocker } from './docker-checks.ts';
import type { Examination } from './examine.ts';
import type { Finding } from './finding.ts';
import { quickReading, wrongDevices } from './gpu-checks.ts';
import { checkStateDir, diskFull, spaceAt } from './storage-checks.ts';

/** Where a problem of the machine is from, in the place of a file. */
const SOURCE = 'this machine';

export async function checkMachine(
  config: Config,
  { platform, machine }: Examination,
): Promise<readonly ConfigProblem[]> {
  const [daemon, reading, space, stateDir] = await Promise.all([
    usesDocker(config) ? lookForDaemon(config.drivers.docker, machine) : null,
    quickReading(config, platform),
    spaceAt(machine, config.server.stateDir),
    checkStateDir(config, machine),
  ]);
  const gpus = reading === null || reading.devices.length === 0 ? null : wrongDevices(config, reading);
  const full = space === undefined ? null : diskFull(config.server.stateDir, space);
  return [
    ...told('error', config.pools.size > 0 ? 'pools' : 'devices', 'no_such_device', gpus),
    ...told('warning', 'server.state_dir', 'not_writable', stateDir.state === 'problem' ? stateDir : null),
    ...told('warning', 'server.state_dir', 'disk_full', full),
    ...told(
      'info',
      'drivers.docker.socket',
      'docker_unavailable',
      daemon !== null && isFinding(daemon) ? daemon : null,
    ),
  ];
}

function told(severity: Severity, path: string, code: string, finding: Finding | null): readonly ConfigProblem[] {
  if (finding === null) return [];
  const message = [finding.message, finding.remedy ?? ''].join(' ').trim();
  return [{ severity, source: SOURCE, line: null, column: null, path, code, message }];
}
