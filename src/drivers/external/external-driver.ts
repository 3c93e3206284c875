/** Servers that somebody else runs: there is nothing to start, to stop or to read. */
import type { LaunchSpec } from '../../core/launch.ts';
import type { Endpoint } from '../../core/state.ts';
import { LaunchError, type Driver } from '../driver.ts';

export class ExternalDriver implements Driver {
  readonly kind = 'external';

  async fetch(): Promise<{ readonly image: null }> {
    return { image: null };
  }

  async pids(): Promise<readonly []> {
    return [];
  }

  async launch(spec: LaunchSpec): Promise<Endpoint> {
    const url = spec.url !== null && URL.canParse(spec.url) ? new URL(spec.url) : null;
    if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
      throw new LaunchError('bad_arguments', 'the url of the model is not an http or https address.');
    }
    return { origin: url.origin, pathPrefix: url.pathname.replace(/\/+$/, ''), pid: null, container: null };
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
