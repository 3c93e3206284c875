/** Every generated file of the repository: path → content. */
import { renderJsonSchema } from '../../src/config/schema/file.ts';
import { cliPage } from './cli-page.ts';
import { configurationPage } from './configuration-page.ts';
import { errorsPage } from './errors-page.ts';
import { metricsPage } from './metrics-page.ts';
import { originalPage } from './original-page.ts';
import { taggedTests } from './tagged-tests.ts';

export const PAGES: Readonly<Record<string, () => string | Promise<string>>> = {
  'docs/cli.md': cliPage,
  'docs/configuration.md': configurationPage,
  'docs/errors.md': errorsPage,
  'docs/metrics.md': metricsPage,
  'docs/original.md': () => originalPage(taggedTests()),
  'gateway.schema.json': renderJsonSchema,
};
