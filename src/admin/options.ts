/** What the control plane is given. */
import type { Access, RequestFacts } from '../auth/auth.ts';
import type { Config } from '../config/config.ts';
import type { InForce, ReloadReport } from '../config/reload-report.ts';
import type { FleetControl } from '../controller/control.ts';
import type { GatewayTelemetry } from '../telemetry/create-telemetry.ts';
import type { ProxyStats, WorkersFacts } from '../telemetry/telemetry.ts';
import type { Milliseconds } from '../units.ts';
import type { StaticFile } from './static-files.ts';

export interface AdminOptions {
  readonly control: FleetControl;
  /** The configuration in force: a reload replaces it, and the access rules with it. */
  readonly config: () => Config;
  readonly access: () => Access;
  /** How it came into force; null, or left out, where it is that of the start for good. */
  readonly inForce?: () => InForce | null;
  /** Rejects with GatewayFailure. */
  readonly reload?: (dryRun: boolean) => Promise<ReloadReport>;
  readonly telemetry: Pick<GatewayTelemetry, 'log' | 'renderMetrics' | 'requests' | 'activity'>;
  readonly proxyStats: () => ProxyStats;
  /** Worker processes of the data plane; null, or left out, where there are none. */
  readonly workers?: () => WorkersFacts | null;
  /** The platform's. */
  readonly clock: {
    monotonic(): Milliseconds;
    wall(): Milliseconds;
    after(delay: Milliseconds, run: () => void): Disposable;
  };
  readonly random: { hex(length: number): string };
  /** The dashboard; absent where it was not built, and a plain page stands in its place. */
  readonly dashboard?: readonly StaticFile[] | undefined;
  readonly gateway: { readonly id: string; readonly version: string };
}

/** Facts of one request that its URL and headers do not hold; the listener knows them. */
export interface Bindings {
  readonly remoteAddress: string | undefined;
  readonly headers: RequestFacts['headers'];
  /** Name, value, name, value …, as received. */
  readonly rawHeaders: readonly string[];
  readonly loopbackListener: boolean;
}
