/** What every model has done since the start, in a handful of numbers: what the dashboard draws its rates from. */
import { SECOND } from '../units.ts';
import type { RequestRecord } from './telemetry.ts';

export interface ModelActivity {
  /** Finished requests … */
  readonly requests: number;
  /** … and those of them that ended in any other way than `completed`. */
  readonly unfinished: number;
  /** Requests whose answer began, and the seconds until then, all together. */
  readonly firstBytes: number;
  readonly firstByteSeconds: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface Activity {
  requestEnded(record: RequestRecord): void;
  /** By configured name. */
  totals(): ReadonlyMap<string, ModelActivity>;
  forget(model: string): void;
}

const NONE: ModelActivity = {
  requests: 0,
  unfinished: 0,
  firstBytes: 0,
  firstByteSeconds: 0,
  promptTokens: 0,
  completionTokens: 0,
};

/** Names that are not configured are left out: clients may send any number of them. */
export function createActivity(isModel: (name: string) => boolean): Activity {
  const models = new Map<string, ModelActivity>();
  return {
    requestEnded: (record) => {
      if (!isModel(record.model)) return;
      const before = models.get(record.model) ?? NONE;
      models.set(record.model, {
        requests: before.requests + 1,
        unfinished: before.unfinished + (record.outcome === 'completed' ? 0 : 1),
        firstBytes: before.firstBytes + (record.firstByteMs === null ? 0 : 1),
        firstByteSeconds: before.firstByteSeconds + (record.firstByteMs ?? 0) / SECOND,
        promptTokens: before.promptTokens + (record.promptTokens ?? 0),
        completionTokens: before.completionTokens + (record.completionTokens ?? 0),
      });
    },
    totals: () => models,
    forget: (model) => void models.delete(model),
  };
}
