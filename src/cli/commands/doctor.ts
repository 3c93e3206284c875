/** `doctor`: looks the machine over, and says what to do. */
import { loadConfig } from '../../config/load.ts';
import type { Finding } from '../../doctor/finding.ts';
import { plural } from '../words.ts';
import { EXIT } from '../world.ts';
import type { Colour, OutputStream, World } from '../world.ts';

export interface DoctorFlags {
  readonly config?: string;
  readonly json?: boolean;
}

const STATES: Readonly<Record<Finding['state'], { readonly text: string; readonly colour: Colour }>> = {
  ok: { text: 'ok', colour: 'green' },
  problem: { text: 'problem', colour: 'red' },
  unknown: { text: 'could not look', colour: 'yellow' },
};
const STATE_WIDTH = STATES.unknown.text.length;
const GAP = '  ';

export async function doctor(world: World, flags: DoctorFlags): Promise<number> {
  const { platform, cwd, out, err } = world;
  if (!flags.json && err.isTerminal) err.write(err.style('dim', 'Looking …'));
  const { env, files, system } = platform;
  const loaded = await loadConfig({ flags: { config: flags.config }, env, files, cwd, system });
  const findings = await world.examine(loaded);
  if (!flags.json && err.isTerminal) err.write('\r\u001b[K');
  const problems = findings.filter(({ state }) => state === 'problem').length;
  const code = problems === 0 ? EXIT.done : EXIT.problem;
  if (flags.json) {
    out.write(`${JSON.stringify({ ok: problems === 0, checks: findings })}\n`);
    return code;
  }
  out.write(renderFindings(findings, out));
  const unknown = findings.filter(({ state }) => state === 'unknown').length;
  const verdict =
    problems === 0 ? out.style('green', 'no problem found') : out.style('red', plural(problems, 'problem'));
  out.write(`\n${verdict}${unknown === 0 ? '' : `, ${unknown} could not be looked at`}\n`);
  return code;
}

export function renderFindings(findings: readonly Finding[], out: OutputStream): string {
  const nameWidth = Math.max(0, ...findings.map(({ check }) => check.length));
  const indent = ' '.repeat(STATE_WIDTH + nameWidth + 2 * GAP.length);
  const width = Math.max(40, out.columns - indent.length);
  const lines = findings.flatMap(({ check, state, message, remedy }) => {
    const { text, colour } = STATES[state];
    const lead = `${out.style(colour, text)}${' '.repeat(STATE_WIDTH - text.length)}${GAP}${check.padEnd(nameWidth)}${GAP}`;
    const told = wrapped(oneLine(message), width);
    const help = remedy === null ? [] : wrapped(`→ ${oneLine(remedy)}`, width);
    return [
      ...told.map((line, index) => (index === 0 ? lead : indent) + line),
      ...help.map((line) => indent + (state === 'ok' ? out.style('dim', line) : out.style('cyan', line))),
    ];
  });
  return `${lines.join('\n')}\n`;
}

const oneLine = (text: string): string => text.replaceAll(/\p{Cc}+/gu, ' ');

/** At spaces; a word that is longer than a line stays whole, so that it can be copied. */
function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
