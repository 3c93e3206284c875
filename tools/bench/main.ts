/**
 * Measures the gateway. What counts is CPU time per unit of work, as a multiple of another's in the same round: the absolute numbers of
 * one machine say little about another.
 *
 *   npm run bench -- [--rounds N] [--seconds S] [--only W1,W3] [--against nginx,haproxy,blind,naive,direct] [--peer NAME=COMMAND]…
 *                    [--build NAME=FOLDER]… [--json FILE]
 *   npm run bench -- ratios                     the gates: this build as a multiple of nginx and of a blind relay
 *   npm run bench -- pairs [--rounds N] [--baseline COMMIT]
 *                                               this build against an earlier one: fails when it costs more
 *   npm run bench -- pairs-shown [--json FILE]  that the comparison sees a planted cost and does not see what is not there
 *   npm run bench -- workers [--rounds N] [--json FILE]
 *                                               several processes against one: fails when an event costs more than × 1.15
 *   npm run bench -- profile [--json FILE]      where the microseconds of W1 and W3 go
 *   npm run bench -- core [--json FILE]         what a step of the core costs, from one to many models and tickets
 */
import { parseArgs } from 'node:util';
import { coreCost } from './core.ts';
import { pairs, pairsShown } from './pairs.ts';
import { profile } from './profile.ts';
import { ratios } from './ratios.ts';
import { sideBySide } from './side-by-side.ts';
import { inWorkers } from './workers.ts';

const { values: options, positionals } = parseArgs({
  options: {
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    only: { type: 'string' },
    against: { type: 'string' },
    baseline: { type: 'string' },
    same: { type: 'string' },
    peer: { type: 'string', multiple: true, default: [] },
    build: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
  },
  allowPositionals: true,
});

const FORMS: Readonly<Record<string, () => Promise<boolean | void>>> = {
  '': () => sideBySide({ ...options, rounds: options.rounds ?? '3', seconds: options.seconds ?? '4' }, spelled()),
  ratios: () => ratios(options),
  pairs: () => pairs(options),
  'pairs-shown': () => pairsShown(options),
  profile: () => profile(options),
  core: () => Promise.resolve(coreCost(options)),
  workers: () => inWorkers(options),
};

/** As it would be typed, without where the result goes. */
function spelled(): string {
  const args = process.argv.slice(2);
  const json = args.indexOf('--json');
  if (json >= 0) args.splice(json, 2);
  return ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' ');
}

const form = FORMS[positionals[0] ?? ''];
if (form === undefined || positionals.length > 1) {
  console.error(`usage: npm run bench -- [${Object.keys(FORMS).filter(Boolean).join('|')}] [options]`);
  process.exit(2);
}
if ((await form()) === false) process.exitCode = 1;
