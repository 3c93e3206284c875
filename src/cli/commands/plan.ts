/** `plan`: what would go where, of a running gateway or, with --config, of a configuration on this machine. */
import { planAnswer } from '../../admin/contract.ts';
import type { PlanAnswer } from '../../admin/contract.ts';
import { loadConfig } from '../../config/load.ts';
import { GatewayClient, gatewayUrl } from '../client.ts';
import { writeProblems } from '../problems.ts';
import { renderPlan } from '../render-plan.ts';
import { CliError, EXIT } from '../world.ts';
import type { World } from '../world.ts';

const KNOWN_SHOWN = 20;

export interface PlanFlags {
  readonly model?: string;
  readonly config?: string;
  readonly url?: string;
  readonly json?: boolean;
}

export async function showPlan(world: World, flags: PlanFlags): Promise<number> {
  if (flags.config !== undefined && flags.url !== undefined) {
    throw new CliError('--config asks this machine, --url a running gateway: name one of them.', {
      exitCode: EXIT.usage,
    });
  }
  const plan = flags.config === undefined ? await ofGateway(world, flags) : await ofThisMachine(world, flags);
  if (plan === null) return EXIT.usage;
  world.out.write(flags.json ? `${JSON.stringify(plan)}\n` : renderPlan(plan, flags.model !== undefined, world.out));
  return EXIT.done;
}

async function ofGateway(world: World, { url, model }: PlanFlags): Promise<PlanAnswer> {
  const client = new GatewayClient(world, gatewayUrl(url, world.platform.env));
  const query = model === undefined ? '' : `?${new URLSearchParams({ model }).toString()}`;
  const { value } = await client.json(`/gateway/plan${query}`, planAnswer);
  return value;
}

/** Null when the configuration cannot be used, which is told. */
async function ofThisMachine(world: World, flags: PlanFlags): Promise<PlanAnswer | null> {
  const { platform, cwd, err } = world;
  const { config, problems } = await loadConfig({
    flags: { config: flags.config },
    env: platform.env,
    files: platform.files,
    cwd,
    system: platform.system,
  });
  if (!config) {
    writeProblems(problems, err);
    return null;
  }
  const { models, aliases } = config;
  const only = flags.model === undefined || models.has(flags.model) ? flags.model : aliases.get(flags.model);
  if (flags.model !== undefined && only === undefined) {
    const known = [...models.keys()].slice(0, KNOWN_SHOWN).join(', ');
    throw new CliError(`No model is called '${flags.model}'; there are: ${known}.`);
  }
  return world.planOffline(config, only, (note) => err.write(`${err.style('dim', note)}\n`));
}
