#!/usr/bin/env node
import { fetchModel } from './fetch.ts';

/**
 * Stands where an engine's Python would: runs the program that fetches a model (`-c PROGRAM JSON`) as a pretended download,
 * and every script, which can only be that of vLLM, as the simulated engine. So nothing has to be configured for tests: a
 * command whose first line names this file is treated like a real installation.
 */
async function main(): Promise<void> {
  const [first = '', ...rest] = process.argv.slice(2);
  if (first === '-c') {
    const asked = JSON.parse(rest[1] ?? '{}') as { readonly repo?: string };
    process.exit(await fetchModel(asked.repo ?? '', process.env));
  }
  process.argv.splice(2, 1);
  await import('./main.ts');
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
});
