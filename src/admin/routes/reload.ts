/** `POST /gateway/reload`: reads the configuration again; with `?dry_run=true` only says what would become different. */
import { ERRORS, gatewayError } from '../../errors.ts';
import { renderProblem } from '../../config/problems.ts';
import type { ReloadReport } from '../../config/reload-report.ts';
import type { ReloadAnswer } from '../contract.ts';
import type { AdminOptions } from '../options.ts';
import { errorBody, errorReply, jsonReply } from '../reply.ts';
import { post } from '../routing.ts';
import type { Route } from '../routing.ts';
import { isTrue } from './follow.ts';

export function reloadRoutes({ reload }: AdminOptions): readonly Route[] {
  return [
    post('/gateway/reload', 'admin', async (context) => {
      if (!reload) return errorReply(gatewayError('route_not_found', 'This gateway cannot read its configuration.'));
      const dryRun = dryRunOf(context.req.queries());
      if (dryRun === undefined) {
        const message = 'The only parameter is dry_run, which is true or false.';
        return errorReply(gatewayError('invalid_body', message, { param: 'dry_run' }));
      }
      const report = await reload(dryRun);
      const answer = answerOf(report, dryRun);
      if (report.result !== 'rejected') return jsonReply(answer);
      const error = gatewayError('config_invalid', messageOf(report));
      return jsonReply({ ...errorBody(error), ...answer }, ERRORS.config_invalid.status);
    }),
  ];
}

/** Undefined when it says neither, or twice, or is spelled otherwise: whoever meant to look must not have changed anything. */
function dryRunOf({ dry_run: texts = ['false'], ...others }: Readonly<Record<string, string[]>>): boolean | undefined {
  const [text, ...more] = texts;
  if (more.length > 0 || Object.keys(others).length > 0) return undefined;
  if (isTrue(text)) return true;
  return text === 'false' || text === '0' ? false : undefined;
}

function messageOf({ problems }: ReloadReport): string {
  const serious = problems.filter(({ severity }) => severity !== 'info');
  const [first] = [...serious.filter(({ severity }) => severity === 'error'), ...serious];
  const more = serious.length > 1 ? ` (one of ${serious.length} problems)` : '';
  return `The configuration cannot be used; the old one stays in force. ${first ? renderProblem(first) : ''}${more}`;
}

function answerOf({ result, version, diff, problems }: ReloadReport, dryRun: boolean): ReloadAnswer {
  return {
    result,
    dry_run: dryRun,
    version,
    diff: diff && {
      keep: [...diff.keep],
      drain_and_restart: [...diff.drainAndRestart],
      remove: [...diff.remove],
      add: [...diff.add],
      changed: diff.changed.map((change) => ({ ...change })),
    },
    problems: problems.map((problem) => ({ ...problem })),
  };
}
