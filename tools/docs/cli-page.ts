/** docs/cli.md, from the commander program. */
import type { Command } from 'commander';
import { page, table } from './markdown.ts';

const EXIT_CODES = [
  ['0', 'Done.'],
  ['1', 'A problem was found (`check`), or a drain was cut short.'],
  ['2', 'Bad usage or configuration.'],
  ['3', 'The port cannot be bound, or another gateway holds `server.state_dir`.'],
  ['70', 'A broken invariant: a bug of the gateway.'],
  ['130, 143', 'A second signal (SIGINT, SIGTERM) at least one second after the first.'],
] as const;

export function cliPage(program: Command): string {
  const commands = program.commands.filter((command) => command.name() !== 'help');
  return page(
    'Command line',
    '`npx vllm-gateway COMMAND` from the installed package. In a checkout, `npm start` is `demo`, and `npm start -- ARGUMENTS` is `serve ARGUMENTS`. ' +
      'With `--json`, exactly one JSON document goes to stdout (one per line for `events`); everything else goes to stderr.',
    ...commands.flatMap((command) => [`## ${command.name()}`, help(command)]),
    '## Exit codes',
    table(['Code', 'Meaning'], EXIT_CODES),
  );
}

/** The help text as a terminal of a fixed width without colours shows it. */
function help(command: Command): string {
  command.configureHelp({ helpWidth: 100 });
  return `\`\`\`text\n${command.helpInformation().trim()}\n\`\`\``;
}
