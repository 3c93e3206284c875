/** Every generated file of the repository: path → content. */
import { renderJsonSchema } from '../../src/config/schema/file.ts';
import { stopGracePeriod } from '../../src/config/effective.ts';
import { SECOND } from '../../src/units.ts';
import { configOf } from '../../test/support/config-of.ts';
import { cliPage } from './cli-page.ts';
import { composeFile, portainerFile } from './compose-file.ts';
import { configurationPage } from './configuration-page.ts';
import { errorsPage } from './errors-page.ts';
import { manualPage } from './manual-page.ts';
import { metricsPage } from './metrics-page.ts';
import { originalPage } from './original-page.ts';
import { measuredFigures } from './performance-figures.ts';
import { performancePage } from './performance-page.ts';
import { performancePlots } from './performance-plots.ts';
import { reliabilityPage } from './reliability-page.ts';
import { taggedTests } from './tagged-tests.ts';

/** Seconds from SIGTERM to the end, with every default and a model in a container. */
async function longestEnd(): Promise<number> {
  return stopGracePeriod(await configOf('models: { any: { repo: org/any, memory: 1GiB } }')) / SECOND;
}

export const PAGES: Readonly<Record<string, () => string | Promise<string>>> = {
  'docs/cli.md': cliPage,
  'docs/configuration.md': configurationPage,
  'docs/errors.md': errorsPage,
  'docs/metrics.md': metricsPage,
  'docs/original.md': () => originalPage(taggedTests()),
  'docs/performance.md': () => performancePage(measuredFigures()),
  ...performancePlots(measuredFigures().run),
  'docs/reliability.md': reliabilityPage,
  'docker-compose.yml': async () => composeFile(await longestEnd()),
  'examples/portainer.yml': async () => portainerFile(await longestEnd()),
  'gateway.schema.json': renderJsonSchema,
  'man/vllm-gateway.1': manualPage,
};
