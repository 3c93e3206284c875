/** What makes a model's files present before its start. */
import { flagValue } from '../../config/merge-args.ts';
import type { FetchSpec } from '../../core/launch.ts';
import { containerOf, type FetchContext } from '../engine.ts';
import { ggufOf } from '../model-files/gguf-reference.ts';
import { isSimulatedCommand } from './dialect.ts';
import { FETCH_PROGRAM, FIND_PYTHON } from './fetch-program.ts';
import { isElsewhere } from './gguf.ts';
import { hubEnvironment, isOffline } from './hub-environment.ts';

const PYTHON = /(?:^|\/)python[\d.]*$/;

/** Null when the engine fetches for itself: it runs as a process and nobody knows its Python. */
export function fetchSpec(context: FetchContext): FetchSpec | null {
  const { model, image } = context;
  if (model.driver === 'external') return null;
  const own = plainVariables(model.env);
  const env = { ...hubEnvironment(context, own), ...own };
  const container = containerOf(context);
  const argv = fetchable(context, own) ? fetchCommand(context) : null;
  if (image === null && argv === null) return null;
  return { argv, env, container };
}

/** Variables that mean something before there is a port: those without engine templates. */
function plainVariables(env: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => !/\$\{\w+\}/.test(value)));
}

/** Comes from the hub, and somebody may ask it. */
function fetchable({ model }: FetchContext, env: Readonly<Record<string, string>>): boolean {
  const gguf = ggufOf(model.repo);
  if (isElsewhere(model.repo) || (gguf !== null && gguf.kind !== 'repo') || isOffline(env)) return false;
  return !/^(?:1|true)$/i.test(env['VLLM_USE_MODELSCOPE'] ?? '');
}

function fetchCommand(context: FetchContext): readonly string[] | null {
  const { model } = context;
  const wanted = JSON.stringify(wantedFiles(context));
  if (context.image !== null) return ['python3', '-c', FETCH_PROGRAM, wanted];
  const command = model.command ?? context.command;
  const [program] = command;
  // A template is known only at the launch, and words before the engine may lead anywhere.
  if (program === undefined || isSimulatedCommand(command) || command.some((word) => word.includes('${'))) return null;
  if (PYTHON.test(program)) return [program, '-c', FETCH_PROGRAM, wanted];
  return command.length > 1 ? null : ['/bin/sh', '-c', FIND_PYTHON, 'sh', program, FETCH_PROGRAM, wanted];
}

interface WantedFiles {
  readonly repo: string;
  readonly revision?: string;
  /** Cache folder, when it is not the one of the environment. */
  readonly folder?: string;
  /** `--load-format`. */
  readonly format?: string;
  /** Quantisation of a GGUF repository, or its very file. */
  readonly quant?: string;
  readonly file?: string;
}

function wantedFiles({ model }: FetchContext): WantedFiles {
  const said = (key: string, flag: string): Readonly<Record<string, string>> => {
    const value = flagValue(model.extraArgs, flag);
    return value === null ? {} : { [key]: value };
  };
  const gguf = ggufOf(model.repo);
  return {
    repo: gguf?.repo ?? model.repo,
    ...(typeof gguf?.file === 'string' ? { file: gguf.file } : {}),
    ...(typeof gguf?.quant === 'string' ? { quant: gguf.quant } : {}),
    ...said('revision', '--revision'),
    ...said('folder', '--download-dir'),
    ...said('format', '--load-format'),
  };
}
