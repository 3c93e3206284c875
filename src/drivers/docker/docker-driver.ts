/** The place of the Docker driver. Models that name it are listed and explained, and never start in this version. */
import type { Endpoint } from '../../core/state.ts';
import { LaunchError, type Driver } from '../driver.ts';

export class DockerDriver implements Driver {
  readonly kind = 'docker';

  async fetch(): Promise<{ readonly image: null }> {
    return { image: null };
  }

  async pids(): Promise<readonly []> {
    return [];
  }

  async launch(): Promise<Endpoint> {
    throw new LaunchError(
      'driver_unavailable',
      'this version cannot run engines in Docker yet; set driver: process for the model, or url for a server that runs already.',
    );
  }

  async stop(): Promise<void> {}

  async list(): Promise<readonly []> {
    return [];
  }

  watch(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }

  adopt(): void {}

  async *logs(): AsyncIterable<string> {}

  async tail(): Promise<readonly string[]> {
    return [];
  }

  async close(): Promise<void> {}
}
