/** The programs of the driver contract as shell scripts: they run as processes here and in containers. */
import type { FetchProgram, Program } from './driver/harness.ts';

const COUNT = 'i=0; while [ $i -lt 100 ]; do echo "line $i"; i=$((i+1)); done';
/** The first process of a container hears only signals that it listens for; and the shell would tell of its children. */
const SERVE = "exec 2>/dev/null; trap 'kill $!; exit 143' TERM; sleep 600 & wait $!";

export const SCRIPTS: Readonly<Record<Exclude<Program, 'missing'>, string>> = {
  serve: `echo started; ${SERVE}`,
  'ignore-term': 'trap "" TERM; echo started; while :; do sleep 0.05; done',
  'exit-0': 'echo started; exit 0',
  'exit-3': 'echo started; exit 3',
  'count-to-100': `echo started; ${COUNT}; ${SERVE}`,
  'count-then-exit': `echo started; ${COUNT}; exit 0`,
  'two-outputs': `echo started; echo "an output"; echo "an error" >&2; ${SERVE}`,
  'no-newline': 'echo started; printf "the end"; exit 0',
  greet: `printf "%s\\n" "$GREETING"; ${SERVE}`,
  'echo-arguments': 'for word; do printf "[%s]\\n" "$word"; done',
};

export const FETCH_SCRIPTS: Readonly<Record<Exclude<FetchProgram, 'missing'>, string>> = {
  bars: [
    'printf "model.safetensors:  50%%|#####     | 5.0G/10.0G\\r" >&2',
    'sleep 0.6',
    'printf "model.safetensors: 100%%|##########| 10.0G/10.0G\\n" >&2',
  ].join('; '),
  gated: [
    'echo "Fetching with hf_secretsecretsecret"',
    'echo "OSError: 401 Client Error: access to org/gated is restricted (hf_secretsecretsecret)" >&2',
    'exit 1',
  ].join('; '),
  hang: 'echo "waiting for the hub"; trap "" TERM; while :; do sleep 0.05; done',
};

export function shellArguments(script: string, words: readonly string[] = []): string[] {
  return ['sh', '-c', script, 'engine', ...words];
}
