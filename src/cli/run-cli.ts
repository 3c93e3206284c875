/** One run of the command line: arguments in, exit code out. */
import { CommanderError } from 'commander';
import { createProgram } from './program.ts';
import { CliError, EXIT } from './world.ts';
import type { World } from './world.ts';

/** `args`: without the program's own name. Rejects only on a bug. */
export async function runCli(args: readonly string[], world: World): Promise<number> {
  let code: number = EXIT.done;
  const program = createProgram(world, (ended) => {
    code = ended;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    // Commander has written its message; asked for help or the version it exits with 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (!(error instanceof CliError)) throw error;
    world.err.write(`${world.err.style('red', error.message)}\n`);
    if (error.hint !== undefined) world.err.write(`${error.hint}\n`);
    return error.exitCode;
  }
  return code;
}
