/** The commands, their options and their help. */
import { Argument, Command, Option } from 'commander';
import { COMMANDS } from '../admin/contract.ts';
import { renderJsonSchema } from '../config/schema/file.ts';
import { DEFAULT_URL, GatewayClient, gatewayUrl } from './client.ts';
import { act } from './commands/act.ts';
import type { ActFlags } from './commands/act.ts';
import { bench } from './commands/bench.ts';
import type { BenchFlags } from './commands/bench.ts';
import { check } from './commands/check.ts';
import type { CheckFlags } from './commands/check.ts';
import { doctor } from './commands/doctor.ts';
import type { DoctorFlags } from './commands/doctor.ts';
import { showEvents } from './commands/events.ts';
import type { EventFlags } from './commands/events.ts';
import { init } from './commands/init.ts';
import type { InitFlags } from './commands/init.ts';
import { showLogs } from './commands/logs.ts';
import type { LogFlags } from './commands/logs.ts';
import { showPlan } from './commands/plan.ts';
import type { PlanFlags } from './commands/plan.ts';
import { showStatus } from './commands/status.ts';
import type { StatusFlags } from './commands/status.ts';
import { complete } from './completion/complete.ts';
import { COMPLETE, completionScript, SHELLS } from './completion/scripts.ts';
import type { Shell } from './completion/scripts.ts';
import { serve } from './serve.ts';
import type { ServeFlags } from './serve.ts';
import { EXIT } from './world.ts';
import type { World } from './world.ts';

const ACTS: Readonly<Record<(typeof COMMANDS)[number], string>> = {
  load: 'start the engine of a model now, and wait until it is ready',
  unload: 'let the engine of a model finish its requests, then stop it',
  pin: 'keep the engine of a model, also idle, until `unpin`',
  unpin: 'let a pinned model go again when it is idle or its memory is needed',
};

/** `ended` hears the exit code of the command that ran. */
export function createProgram(world: World, ended: (code: number) => void): Command {
  const program = new Command('vllm-gateway')
    .description(
      'One process between applications and GPUs: starts the engine that serves the named model, and explains itself.',
    )
    .version(world.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .showSuggestionAfterError(true)
    .showHelpAfterError('Run it with --help to see what is right.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => world.out.write(text),
      writeErr: (text) => world.err.write(text),
      outputError: (text, write) => write(world.err.style('red', text)),
      getOutHelpWidth: () => world.out.columns,
      getErrHelpWidth: () => world.err.columns,
      getOutHasColors: () => world.out.isTerminal,
      getErrHasColors: () => world.err.isTerminal,
    });
  addLocalCommands(program, world, ended);
  addRemoteCommands(program, world, ended);
  addMachineCommands(program, world, ended);
  program
    .command(COMPLETE, { hidden: true })
    .argument('[words...]')
    .action(async (words: readonly string[]) => ended(await complete(world, program, words)));
  return program;
}

function addLocalCommands(program: Command, world: World, ended: (code: number) => void): void {
  program
    .command('serve')
    .description('run the gateway')
    .option('-c, --config <file>', 'configuration file (else GATEWAY_CONFIG_FILE, ./gateway.yaml, …)')
    .option('--listen <host:port>', 'address to listen on')
    .option('--strict', 'refuse to start on warnings too')
    .addOption(logLevelOption())
    .addOption(new Option('--end-with-parent', 'stop when the program that started it ends').hideHelp())
    .action(async (flags: ServeFlags) => ended(await serve(world, flags, false)));
  program
    .command('demo')
    .description('run the gateway with three models on two simulated GPUs; no GPU needed')
    .option('--listen <host:port>', 'address to listen on')
    .addOption(logLevelOption())
    .action(async (flags: ServeFlags) => ended(await serve(world, flags, true)));
  program
    .command('check')
    .description('print the effective configuration and everything that is wrong with it, or stands against it here')
    .option('-c, --config <file>', 'configuration file')
    .option('--strict', 'fail on warnings too')
    .option('--json', 'print one JSON document')
    .action(async (flags: CheckFlags) => ended(await check(world, flags)));
  program
    .command('schema')
    .description('print the JSON Schema of the configuration file')
    .action(() => {
      world.out.write(renderJsonSchema());
      ended(EXIT.done);
    });
}

function addMachineCommands(program: Command, world: World, ended: (code: number) => void): void {
  program
    .command('doctor')
    .description('look at Docker, GPUs, models, disk, ports, limits and the hub, and say what to do')
    .option('-c, --config <file>', 'configuration file (else as `serve` finds it)')
    .option('--json', 'print one JSON document')
    .action(async (flags: DoctorFlags) => ended(await doctor(world, flags)));
  program
    .command('init')
    .description('look at GPUs, Docker, vLLM and the model cache, and write a commented configuration')
    .option('-o, --output <file>', 'file to write; - prints it (default: gateway.yaml)')
    .option('--force', 'replace the file when it is there')
    .action(async (flags: InitFlags) => ended(await init(world, flags)));
  program
    .command('bench')
    .description('measure in 20 seconds what the gateway costs here, beside a plain relay; no GPU needed')
    .option('--json', 'print one JSON document')
    .action(async (flags: BenchFlags) => ended(await bench(world, flags)));
  program
    .command('completion')
    .description('print a script that completes commands, options and names of models')
    .addArgument(new Argument('<shell>', 'the shell to complete in').choices(SHELLS))
    .action((shell: Shell) => {
      world.out.write(completionScript(shell));
      ended(EXIT.done);
    });
}

function addRemoteCommands(program: Command, world: World, ended: (code: number) => void): void {
  const remote = (name: string, description: string): Command =>
    program
      .command(name)
      .description(description)
      .addOption(new Option('--url <url>', `address of the gateway (else GATEWAY_URL, ${DEFAULT_URL})`));
  const clientOf = (flags: { readonly url?: string }): GatewayClient =>
    new GatewayClient(world, gatewayUrl(flags.url, world.platform.env));

  remote('status', 'print what a running gateway does')
    .option('-w, --watch', 'follow it on the whole terminal; elsewhere, print it again when it changes')
    .option('--json', 'print one JSON document (with --watch one per change, on a line each)')
    .action(async (flags: StatusFlags & { url?: string }) => ended(await showStatus(world, clientOf(flags), flags)));
  remote('plan', 'say what would go where, what would leave, and which bytes are missing')
    .option('-m, --model <model>', 'of one model, in detail')
    .option('-c, --config <file>', 'of a configuration, on this machine, without a running gateway')
    .option('--json', 'print one JSON document')
    .action(async (flags: PlanFlags) => ended(await showPlan(world, flags)));
  for (const name of COMMANDS) {
    const command = remote(name, ACTS[name])
      .argument('<model>', 'name or alias of a model')
      .option('--json', 'print one JSON document')
      .action(async (model: string, flags: ActFlags & { url?: string }) =>
        ended(await act(world, clientOf(flags), name, model, flags)),
      );
    if (name === 'load' || name === 'unload') command.option('--no-wait', 'return at once');
  }
  remote('logs', 'print the log of the engine of a model')
    .argument('<model>', 'a model, or a replica by its id')
    .option('-f, --follow', 'go on as lines are written')
    .option('-n, --tail <lines>', 'how many of the last lines to begin with')
    .action(async (model: string, flags: LogFlags & { url?: string }) =>
      ended(await showLogs(world, clientOf(flags), model, flags)),
    );
  remote('events', 'print what the gateway decided lately, and why')
    .option('-f, --follow', 'go on as decisions are made')
    .option('--json', 'print one JSON document per line')
    .action(async (flags: EventFlags & { url?: string }) => ended(await showEvents(world, clientOf(flags), flags)));
}

function logLevelOption(): Option {
  return new Option('--log-level <level>', 'how much to log').choices(['trace', 'debug', 'info', 'warn', 'error']);
}
