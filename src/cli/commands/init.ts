/** `init`: writes a commented configuration from what is on this machine. Never over a file that is there, unless told so. */
import { loadConfig } from '../../config/load.ts';
import { absolute } from '../../config/locate.ts';
import { writeProblems } from '../problems.ts';
import { starterConfig } from '../starter-config.ts';
import { CliError, EXIT } from '../world.ts';
import type { World } from '../world.ts';

export interface InitFlags {
  readonly output?: string;
  readonly force?: boolean;
}

const DEFAULT_FILE = 'gateway.yaml';
const STDOUT = '-';
/** Others may read it: keys belong into the environment or files of their own. */
const MODE = 0o644;

export async function init(world: World, flags: InitFlags): Promise<number> {
  const { platform, cwd, out, err } = world;
  const file = flags.output ?? DEFAULT_FILE;
  if (file === STDOUT) {
    out.write(starterConfig(await world.survey()));
    return EXIT.done;
  }
  const path = absolute(cwd, file);
  const taken = (): CliError =>
    new CliError(`${file} is there already and stays as it is.`, {
      hint: 'Name another file with --output, print it with --output -, or replace it with --force.',
    });
  const there = await platform.files.stat(path);
  if (there?.kind === 'folder') throw new CliError(`${file} is a folder; name a file with --output.`);
  if (there && !flags.force) throw taken();
  const text = starterConfig(await world.survey());
  if (!(await written(world, path, text, flags.force === true))) throw taken();
  const { problems } = await loadConfig({ flags: { config: file }, env: platform.env, files: platform.files, cwd });
  const serious = problems.filter(({ severity }) => severity !== 'info');
  writeProblems(serious, err);
  const named = file === DEFAULT_FILE ? '' : ` --config ${file}`;
  out.write(
    [
      `${out.style('green', 'written')}: ${file}`,
      `  vllm-gateway doctor${named}   looks at Docker, GPUs, disk and hub, and says what to do`,
      `  vllm-gateway plan --config ${file}   says what would go where`,
      `  vllm-gateway serve${named}`,
      '',
    ].join('\n'),
  );
  return serious.some(({ severity }) => severity === 'error') ? EXIT.problem : EXIT.done;
}

/** False when somebody else has made the file meanwhile. */
async function written({ platform: { files } }: World, path: string, text: string, force: boolean): Promise<boolean> {
  try {
    if (!force) return await files.createExclusive(path, text, MODE);
    await files.writeAtomic(path, text, MODE);
    return true;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new CliError(`${path} cannot be written (${code}).`, { hint: 'Name a file elsewhere with --output.' });
  }
}
