/**
 * `npm run release:sbom`: the CycloneDX bill of materials of the package, on stdout.
 *
 * npm writes it from the lock file; what only builds and tests is taken out here, because `npm sbom --omit dev` takes out
 * packages too that both the program and a tool stand on. What the dashboard has within itself stays: it is shipped as well.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

/** Packages for development whose code Vite puts into dist/web. */
const BUNDLED = ['preact'];

const root = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const args = ['sbom', '--package-lock-only', '--sbom-format', 'cyclonedx', '--sbom-type', 'application'];
const bill = JSON.parse(execFileSync('npm', args, { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 }));

/** @param {{ name: string, properties: readonly { name: string, value: string }[] }} component */
const ships = ({ name, properties }) =>
  BUNDLED.includes(name) || !properties.some((property) => property.name === 'cdx:npm:package:development');

const own = bill.metadata.component;
const components = bill.components.filter(ships);
const refs = new Set([own['bom-ref'], ...components.map((component) => component['bom-ref'])]);
const dependencies = bill.dependencies
  .filter(({ ref }) => refs.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => refs.has(other)) }));

// npm names the folder that it was called in.
const metadata = { ...bill.metadata, component: { ...own, name: manifest.name } };
// Who reads only its beginning has what he wants.
process.stdout.on('error', (error) => {
  if (!('code' in error) || error.code !== 'EPIPE') throw error;
});
process.stdout.write(`${JSON.stringify({ ...bill, metadata, components, dependencies }, null, 2)}\n`);
