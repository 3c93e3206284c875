/** docs/cli.md, from the commander program. */
import type { Command } from 'commander';
import { createProgram } from '../../src/cli/program.ts';
import type { OutputStream, World } from '../../src/cli/world.ts';
import { page, table } from './markdown.ts';

export const EXIT_CODES = [
  ['0', 'Done.'],
  ['1', 'A problem was found (`check`, `doctor`), a command failed, or a drain was cut short.'],
  ['2', 'Bad usage or configuration.'],
  ['3', 'The port cannot be bound, or another gateway holds `server.state_dir`.'],
  ['70', 'A broken invariant: a bug of the gateway.'],
  ['130, 143', 'A second signal (SIGINT, SIGTERM) at least one second after the first.'],
] as const;

/** A terminal of a fixed width without colours. */
const TERMINAL: OutputStream = {
  write: () => undefined,
  isTerminal: false,
  columns: 100,
  rows: 24,
  onResize: () => ({ [Symbol.dispose]: () => undefined }),
  style: (_name, text) => text,
};

/** The program as it is run, for those who only read it; nothing of it can be run. */
export function documentedProgram(): Command {
  // Help texts need no more of the world than where they would be printed.
  const world = { version: '', out: TERMINAL, err: TERMINAL } as unknown as World;
  return createProgram(world, () => undefined);
}

export function documentedCommands(program: Command): readonly Command[] {
  return program
    .createHelp()
    .visibleCommands(program)
    .filter((command) => command.name() !== 'help');
}

export function cliPage(): string {
  const commands = documentedCommands(documentedProgram());
  return page(
    'Command line',
    '`npx vllm-gateway COMMAND` from the installed package. In a checkout, `npm start` is `demo`, and `npm start -- ARGUMENTS` is `serve ARGUMENTS`. ' +
      'With `--json`, exactly one JSON document goes to stdout (one per line for `events` and `status --watch`); everything else goes to stderr.',
    ...commands.flatMap((command) => [`## ${command.name()}`, help(command)]),
    '## Exit codes',
    table(['Code', 'Meaning'], EXIT_CODES),
  );
}

function help(command: Command): string {
  return `\`\`\`text\n${command.helpInformation().trim()}\n\`\`\``;
}
