import { checkAuth } from './auth.ts';
import type { CheckInput } from './check-input.ts';
import { checkDevices } from './devices.ts';
import { checkModels } from './models.ts';
import { checkNames } from './names.ts';
import { checkRelations } from './relations.ts';
import { checkVersions } from './versions.ts';

/** Everything that no single key can know. */
export function runChecks(input: CheckInput): void {
  checkNames(input);
  checkModels(input);
  checkVersions(input);
  checkDevices(input);
  checkRelations(input);
  checkAuth(input);
}
