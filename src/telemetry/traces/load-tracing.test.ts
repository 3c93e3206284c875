import { describe, expect, it } from 'vitest';
import { importsOf, readSource, resolveSpecifier } from '../../../test/support/source-tree.ts';

/** Every file that is loaded with this one, and the packages that they load. */
function loadedWith(path: string): { readonly files: ReadonlySet<string>; readonly packages: ReadonlySet<string> } {
  const files = new Set<string>([path]);
  const packages = new Set<string>();
  for (const file of files) {
    for (const { specifier, typeOnly } of importsOf(readSource(file))) {
      if (typeOnly) continue;
      if (specifier.startsWith('.')) files.add(resolveSpecifier(file, specifier));
      else packages.add(specifier);
    }
  }
  return { files, packages };
}

const ofOpenTelemetry = (packages: ReadonlySet<string>): string[] =>
  [...packages].filter((name) => name.startsWith('@opentelemetry/')).toSorted();

describe('OpenTelemetry', () => {
  it('is not loaded with the program, but with the first traces', () => {
    const program = loadedWith('src/main.ts');
    expect(program.files).toContain('src/telemetry/traces/load-tracing.ts');
    expect(program.packages).toContain('pino');
    expect(ofOpenTelemetry(program.packages)).toEqual([]);
    expect(ofOpenTelemetry(loadedWith('src/telemetry/traces/open-tracing.ts').packages)).toEqual([
      '@opentelemetry/api',
      '@opentelemetry/exporter-trace-otlp-http',
      '@opentelemetry/resources',
      '@opentelemetry/sdk-trace',
    ]);
  });
});
