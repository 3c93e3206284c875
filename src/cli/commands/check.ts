/** `check`: the effective configuration and every problem, of its text and of what on this machine stands against it. */
import { checkReport } from '../../config/effective.ts';
import { loadConfig } from '../../config/load.ts';
import { writeProblems } from '../problems.ts';
import { renderTree } from '../tree.ts';
import { plural } from '../words.ts';
import { EXIT } from '../world.ts';
import type { World } from '../world.ts';

export interface CheckFlags {
  readonly config?: string;
  readonly strict?: boolean;
  readonly json?: boolean;
}

export async function check(world: World, flags: CheckFlags): Promise<number> {
  const { platform, cwd, out, err } = world;
  const { env, files, system } = platform;
  const result = await loadConfig({ flags, env, files, cwd, system });
  const here = result.config === null ? [] : await world.checkMachine(result.config);
  const report = checkReport({ ...result, problems: [...result.problems, ...here] });
  const code = report.ok ? EXIT.done : EXIT.problem;
  if (flags.json) {
    out.write(`${JSON.stringify(report)}\n`);
    return code;
  }
  if (report.effective !== null) out.write(renderTree(report.effective));
  writeProblems(report.problems, err);
  const count = (severity: string): number => report.problems.filter((problem) => problem.severity === severity).length;
  const [errors, warnings] = [count('error'), count('warning')];
  const verdict = report.ok ? err.style('green', 'ok') : err.style('red', 'not ok');
  const source = result.config?.source ?? flags.config ?? 'no file';
  err.write(`${verdict}: ${plural(errors, 'error')}, ${plural(warnings, 'warning')} (${source})\n`);
  return code;
}
