/** Problems of a configuration, one line each, severity first on a terminal by colour too. */
import type { ConfigProblem, Severity } from '../config/config.ts';
import { renderProblem } from '../config/problems.ts';
import type { Colour, OutputStream } from './world.ts';

const COLOURS: Readonly<Record<Severity, Colour>> = { error: 'red', warning: 'yellow', info: 'cyan' };

export function writeProblems(problems: readonly ConfigProblem[], stream: OutputStream): void {
  for (const problem of problems) {
    stream.write(`${stream.style(COLOURS[problem.severity], problem.severity)}: ${renderProblem(problem)}\n`);
  }
}
