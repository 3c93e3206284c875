/** What stands beside a release: the bill of materials, and the manual page as the tools for manuals read it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { filesUnder, importsOf, isTest, readSource, ROOT } from './support/source-tree.ts';

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

interface Component {
  readonly name: string;
  readonly version: string;
  readonly type: string;
  readonly purl: string;
  readonly 'bom-ref': string;
  readonly properties: readonly { readonly name: string }[];
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
}

interface Bill {
  readonly bomFormat: string;
  readonly specVersion: string;
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

const manifest = JSON.parse(readSource('package.json')) as Manifest;

/** Packages that the dashboard imports: Vite puts them into what is shipped. */
function bundled(): readonly string[] {
  const pages = filesUnder('web', ['.ts', '.tsx']).filter((path) => !isTest(path) && !path.endsWith('.config.ts'));
  const specifiers = pages.flatMap((path) => importsOf(readSource(path)).filter(({ typeOnly }) => !typeOnly));
  const names = specifiers.map(({ specifier }) => specifier.match(/^(?:@[^/]+\/)?[^./@][^/]*/)?.[0] ?? '');
  return [...new Set(names)].filter((name) => name in manifest.devDependencies).sort();
}

describe('the bill of materials', () => {
  const text = execFileSync('npm', ['run', '--silent', 'release:sbom'], { cwd: ROOT, encoding: 'utf8' });
  const bill = JSON.parse(text) as Bill;
  const own = bill.metadata.component;

  it('is CycloneDX and speaks of this version', () => {
    expect(bill.bomFormat).toBe('CycloneDX');
    expect(bill.specVersion).toMatch(/^1\.[5-9]$/);
    expect([own.type, own.purl]).toEqual(['application', `pkg:npm/${manifest.name}@${manifest.version}`]);
  });

  it('names every package that runs, at its pinned version, with a digest, and of those that build only what the pages contain', () => {
    const named = new Map(bill.components.map((component) => [component.purl, component]));
    const purl = (name: string, version: string): string => `pkg:npm/${name.replace('@', '%40')}@${version}`;
    const missing = Object.entries(manifest.dependencies).filter(([name, version]) => !named.has(purl(name, version)));
    expect(missing).toEqual([]);
    expect(bill.components.filter(({ hashes }) => hashes?.[0]?.alg !== 'SHA-512')).toEqual([]);
    const building = bill.components.filter(({ properties }) =>
      properties.some(({ name }) => name === 'cdx:npm:package:development'),
    );
    expect(building.map(({ name }) => name)).toEqual(bundled());
  });

  it('says for each package what it stands on, from the gateway down', () => {
    const edges = new Map(bill.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
    const reached = new Set<string>();
    const open = [own['bom-ref']];
    for (let ref = open.pop(); ref !== undefined; ref = open.pop()) {
      if (reached.has(ref)) continue;
      reached.add(ref);
      open.push(...(edges.get(ref) ?? []));
    }
    expect(bill.components.filter((component) => !reached.has(component['bom-ref']))).toEqual([]);
  });
});

describe('the manual page', () => {
  it('is named in a list: of a single name npm makes no page that `man` finds', () => {
    expect(JSON.parse(readSource('package.json'))).toHaveProperty('man', ['man/vllm-gateway.1']);
  });

  // Its text is compared with the program in docs.test.ts; whether it is good roff only roff can say.
  it.skipIf(spawnSync('groff', ['--version']).status !== 0)('is read by groff without a warning', () => {
    const { stdout, stderr } = spawnSync('groff', ['-man', '-ww', '-Tascii', 'man/vllm-gateway.1'], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    // Bold letters are struck twice.
    expect(stdout.replaceAll(/.\u0008/g, '')).toContain('EXIT STATUS');
  });
});
