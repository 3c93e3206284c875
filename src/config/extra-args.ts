/** `extra_args` of vLLM: what a user may not pass, because the gateway passes it or depends on it. */
import { flagName, isFlag } from './merge-args.ts';

interface Owned {
  readonly flag: string;
  /** Short spellings of vLLM's parser. */
  readonly short?: readonly string[];
  /** What to do instead. */
  readonly instead: string;
  /** Only where the ledger promises bytes. */
  readonly budgetOnly?: boolean;
  /** Every flag that begins so. */
  readonly family?: boolean;
}

const PLACEMENT = 'the gateway chooses the devices';
const ADDRESS = 'the gateway chooses where engines listen';
const PARALLEL = 'one replica is one engine on the devices that tensor_parallel_size says';

const OWNED: readonly Owned[] = [
  { flag: '--model', instead: 'the model is the key repo' },
  { flag: '--served-model-name', instead: 'the gateway names the model; further names are the key aliases' },
  { flag: '--host', instead: ADDRESS },
  { flag: '--port', instead: ADDRESS },
  { flag: '--uds', instead: ADDRESS },
  { flag: '--fd', instead: ADDRESS },
  { flag: '--grpc', instead: 'the gateway speaks HTTP to engines' },
  { flag: '--headless', instead: 'an engine without HTTP cannot serve' },
  { flag: '--api-key', instead: 'the gateway gives every engine a key of its own' },
  { flag: '--root-path', instead: 'the gateway calls the routes at their own place' },
  { flag: '--ssl-', instead: 'the gateway speaks plain HTTP to engines', family: true },
  { flag: '--enable-ssl-refresh', instead: 'the gateway speaks plain HTTP to engines' },
  { flag: '--gpu-memory-utilization', instead: 'use the key gpu_memory_utilization or memory' },
  { flag: '--kv-cache-memory-bytes', instead: 'use the key memory' },
  { flag: '--tensor-parallel-size', short: ['-tp'], instead: 'use the key tensor_parallel_size' },
  { flag: '--pipeline-parallel-size', short: ['-pp'], instead: PARALLEL },
  {
    flag: '--data-parallel-',
    short: ['-dp', '-dpn', '-dpr', '-dpl', '-dpa', '-dpp', '-dpb', '-dph', '-dpe'],
    instead: PARALLEL,
    family: true,
  },
  { flag: '--api-server-count', short: ['-asc'], instead: PARALLEL },
  { flag: '--nnodes', short: ['-n'], instead: PARALLEL },
  { flag: '--node-rank', short: ['-r'], instead: PARALLEL },
  { flag: '--master-addr', instead: PARALLEL },
  { flag: '--master-port', instead: PARALLEL },
  { flag: '--device-ids', instead: PLACEMENT },
  { flag: '--config', instead: 'a file could set any of the flags that the gateway owns; write its flags here' },
  { flag: '--disable-log-stats', instead: 'the gateway reads these numbers to tell a working engine from a hung one' },
  { flag: '--shutdown-timeout', instead: 'use the key stop_timeout' },
  { flag: '--help', short: ['-h'], instead: 'the engine would only print a text and end' },
  { flag: '--version', short: ['-v'], instead: 'the engine would only print a text and end' },
  { flag: '--max-model-len', instead: 'use the key max_model_len', budgetOnly: true },
  { flag: '--max-num-seqs', instead: 'use the key max_num_seqs', budgetOnly: true },
  {
    flag: '--kv-cache-dtype',
    instead: 'in budget mode it would void the estimate; use memory.placement_mode: whole_card for it',
    budgetOnly: true,
  },
  {
    flag: '--num-gpu-blocks-override',
    instead: 'in budget mode it would void the reservation; use the key memory',
    budgetOnly: true,
  },
];

/** How `name` spells `owned`: in full, abbreviated as argparse allows, or short. Undefined when it does not. */
function spells(name: string, owned: Owned): 'full' | 'abbreviated' | 'short' | undefined {
  if (name.startsWith('--')) {
    const lower = name.toLowerCase();
    if (lower === owned.flag) return 'full';
    if (owned.family === true && (lower.startsWith(owned.flag) || lower === owned.flag.slice(0, -1))) return 'full';
    // argparse takes every beginning of a flag for the flag, as long as it is the only one that begins so.
    return lower.length > 2 && owned.flag.startsWith(lower) ? 'abbreviated' : undefined;
  }
  return owned.short?.some(
    (short) => name === short || (name.startsWith(short) && /^\d+$/.test(name.slice(short.length))),
  ) === true
    ? 'short'
    : undefined;
}

export interface OwnedFlag {
  readonly index: number;
  readonly message: string;
}

/** Arguments that would take something out of the gateway's hands, in whatever spelling vLLM's parser would accept. */
export function ownedFlags(extra: readonly string[], budget: boolean): readonly OwnedFlag[] {
  const found: OwnedFlag[] = [];
  if (extra[0] !== undefined && !isFlag(extra[0])) {
    found.push({
      index: 0,
      message: `${JSON.stringify(extra[0])} is not a flag; allowed: a list that begins with a flag, such as [--max-num-batched-tokens, 4096]`,
    });
  }
  extra.forEach((argument, index) => {
    if (!isFlag(argument)) return;
    if (argument === '--') {
      found.push({ index, message: '"--" would end the flags of the engine; remove it' });
      return;
    }
    if (/\s/.test(argument) && !argument.includes('=')) {
      found.push({
        index,
        message: `${JSON.stringify(argument)} holds a flag and its value in one; write two entries, as in [--flag, value]`,
      });
      return;
    }
    const name = flagName(argument);
    for (const owned of OWNED) {
      if (owned.budgetOnly === true && !budget) continue;
      const spelling = spells(name, owned);
      if (spelling === undefined) continue;
      const full = owned.family === true ? `${owned.flag}*` : owned.flag;
      const what = spelling === 'full' ? name : `${name} (short for ${full})`;
      found.push({ index, message: `${what} belongs to the gateway: ${owned.instead}` });
      return;
    }
  });
  return found;
}
