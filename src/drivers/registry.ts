/** The only place, beside gateway.ts, that names concrete drivers. */
import type { DriverKind } from '../core/settings.ts';
import { DockerDriver } from './docker/docker-driver.ts';
import type { Driver, DriverContext } from './driver.ts';
import { ExternalDriver } from './external/external-driver.ts';
import { ProcessDriver } from './process/process-driver.ts';
import { RenewableDriver } from './renewable-driver.ts';
import { SimulatedDriver } from './simulated/simulated-driver.ts';

export type { DriverContext } from './driver.ts';

const FACTORIES = {
  docker: (context) => new DockerDriver(context),
  external: () => new ExternalDriver(),
  process: (context) => new ProcessDriver(context),
  simulated: (context) => new SimulatedDriver(context),
} satisfies Record<DriverKind, (context: DriverContext) => Driver>;

/** Made when it is needed. `worthListing`: false where it is not even asked what an earlier run left. */
export function createRenewableDriver(
  kind: DriverKind,
  context: DriverContext,
  worthListing?: () => Promise<boolean>,
): Driver {
  return new RenewableDriver(kind, () => createDriver(kind, context), worthListing);
}

export function createDriver(kind: DriverKind, context: DriverContext): Driver {
  return FACTORIES[kind](context);
}
