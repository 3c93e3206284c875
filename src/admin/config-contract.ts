/** The part of the contract that speaks of the configuration: in status, and what a reload answers. */
import { z } from 'zod';

const moment = z.iso.datetime();

const configProblem = z.object({
  severity: z.enum(['error', 'warning', 'info']),
  source: z.string(),
  line: z.number().int().nullable(),
  column: z.number().int().nullable(),
  path: z.string(),
  code: z.string(),
  message: z.string(),
});

export const configStatus = z.object({
  source: z.string().nullable(),
  /** Counts the configurations that were in force; 1 is that of the start. */
  version: z.number().int(),
  loaded_at: moment,
  /** When its files last said something that cannot be used, and that is not in force; null = they do not. */
  rejected_at: moment.nullable(),
  /** Of the configuration in force, then of the one that was not taken. */
  problems: z.array(configProblem),
});

const settingChange = z.object({
  path: z.string(),
  from: z.unknown(),
  to: z.unknown(),
  /** `drain`: makes other engines of the models that it changes. */
  rule: z.enum(['live', 'drain', 'restart']),
});

/** `POST /gateway/reload`: 200, or 422 when the configuration cannot be used, with `error` beside these. */
export const reloadAnswer = z.object({
  /** `valid`: a dry run that would have been applied. */
  result: z.enum(['applied', 'unchanged', 'rejected', 'valid']),
  dry_run: z.boolean(),
  /** Of the configuration in force. */
  version: z.number().int(),
  diff: z
    .object({
      keep: z.array(z.string()),
      drain_and_restart: z.array(z.string()),
      remove: z.array(z.string()),
      add: z.array(z.string()),
      changed: z.array(settingChange),
    })
    .nullable(),
  problems: z.array(configProblem),
});
export type ReloadAnswer = z.infer<typeof reloadAnswer>;
