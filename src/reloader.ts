/** A new configuration for a gateway that runs: loaded and checked as at a start, told as a difference, applied at once or not at all. */
import type { Config, ConfigProblem } from './config/config.ts';
import type { LoadResult } from './config/load.ts';
import { renderProblem } from './config/problems.ts';
import { diffConfigs, isSame, type ConfigDiff, type Identity, type SettingChange } from './config/reload-diff.ts';
import type { InForce, ReloadReport, ReloadTrigger } from './config/reload-report.ts';
import type { Decision } from './core/effects.ts';
import type { Clock } from './platform/platform.ts';
import type { GatewayTelemetry } from './telemetry/create-telemetry.ts';
import { gatewayError, GatewayFailure } from './errors.ts';

/** Reads everything again: flags and environment as they were at the start, files as they are now. */
export type ConfigLoader = (running: Config) => Promise<Pick<LoadResult, 'config' | 'problems' | 'files'>>;

export interface ReloaderOptions {
  readonly config: Config;
  readonly load: ConfigLoader;
  readonly identity: Identity;
  /** The gateway ends: nothing is replaced any more. */
  readonly ending: () => boolean;
  /** What only the machine can say against it, in a sentence; null = nothing. */
  readonly refuse: (next: Config) => string | null;
  /** Puts it in force in one step; `tell` is called when it is about to be. */
  readonly apply: (next: Config, diff: ConfigDiff, tell: () => void) => void;
  /** Told which files the outcome hangs on. */
  readonly looked: (files: readonly string[]) => void;
  readonly decided: (decision: Decision) => void;
  readonly telemetry: Pick<GatewayTelemetry, 'log' | 'reloaded'>;
  readonly clock: Pick<Clock, 'wall'>;
}

/** Of a changed value in a log line. */
const LONGEST_VALUE = 120;
/** Names in a sentence. */
const MOST_NAMES = 12;

export class Reloader {
  readonly #options: ReloaderOptions;
  #inForce: InForce;
  #running: Promise<unknown> = Promise.resolve();
  /** Begins when the one under way has ended: whoever asks meanwhile shares it. */
  readonly #next = new Map<string, Promise<ReloadReport>>();

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#inForce = { config: options.config, version: 1, loadedAt: options.clock.wall(), rejected: null };
  }

  get inForce(): InForce {
    return this.#inForce;
  }

  /** Everything that status and metrics count: of the configuration in force, and of the one that was not taken. */
  get problems(): readonly ConfigProblem[] {
    const { config, rejected } = this.#inForce;
    return rejected === null ? config.problems : [...config.problems, ...rejected.problems];
  }

  /** One at a time. Rejects with `shutting_down`, or with a bug of ours, and then nothing has changed. */
  reload(trigger: ReloadTrigger, dryRun: boolean): Promise<ReloadReport> {
    const key = `${trigger} ${dryRun}`;
    const waiting = this.#next.get(key);
    if (waiting !== undefined) return waiting;
    const next = this.#running.then(() => {
      this.#next.delete(key);
      return this.#reload(trigger, dryRun);
    });
    this.#next.set(key, next);
    this.#running = next.catch(() => undefined);
    return next;
  }

  async #reload(trigger: ReloadTrigger, dryRun: boolean): Promise<ReloadReport> {
    const { load, looked, refuse, identity, telemetry } = this.#options;
    const { config: before, rejected } = this.#inForce;
    const { config: loaded, problems: found, files } = await load(before);
    looked(files);
    if (this.#options.ending()) {
      throw new GatewayFailure(gatewayError('shutting_down', 'The gateway is shutting down: nothing is reloaded.'));
    }
    const refusal = loaded === null ? null : refuse(loaded);
    const problems = refusal === null ? found : [...found, fromMachine(loaded, refusal)];
    if (loaded === null || refusal !== null) return this.#reject(trigger, dryRun, problems);
    const report = (result: ReloadReport['result'], diff: ConfigDiff): ReloadReport => ({
      result,
      version: this.#inForce.version,
      diff,
      problems,
    });
    const diff = diffConfigs(before, loaded, identity);
    if (isSame(before, loaded)) {
      if (dryRun) return report('unchanged', diff);
      const config = { ...before, source: loaded.source, problems: loaded.problems };
      this.#inForce = { ...this.#inForce, config, rejected: null };
      const quiet = trigger === 'file' && rejected === null;
      telemetry.log[quiet ? 'debug' : 'info']({ trigger }, 'the configuration is as it was');
      if (trigger !== 'file') telemetry.reloaded('unchanged');
      return report('unchanged', diff);
    }
    if (dryRun) return report('valid', diff);
    this.#apply(trigger, loaded, diff);
    return report('applied', diff);
  }

  #apply(trigger: ReloadTrigger, next: Config, diff: ConfigDiff): void {
    const { apply, telemetry, clock, decided } = this.#options;
    const version = this.#inForce.version + 1;
    apply(next, diff, () => {
      this.#inForce = { config: next, version, loadedAt: clock.wall(), rejected: null };
      const fields = fieldsOf(diff);
      decided({
        kind: 'config.reloaded',
        model: null,
        replica: null,
        reason: `The configuration was replaced (${TRIGGERS[trigger]}). ${inWords(diff)}`,
        detail: { version, source: next.source, ...fields },
      });
    });
    for (const change of diff.changed) {
      telemetry.log.info(
        { key: change.path, from: brief(change.from), to: brief(change.to), rule: change.rule },
        'configuration: changed',
      );
    }
    this.#logProblems(next.problems);
    telemetry.reloaded('applied');
  }

  #reject(trigger: ReloadTrigger, dryRun: boolean, all: readonly ConfigProblem[]): ReloadReport {
    const { telemetry, clock, decided } = this.#options;
    const { version, rejected } = this.#inForce;
    const problems = all.filter(({ severity }) => severity !== 'info');
    const report: ReloadReport = { result: 'rejected', version, diff: null, problems: all };
    if (dryRun) return report;
    // A file that is looked at twice is not news twice.
    if (trigger === 'file' && rejected !== null && JSON.stringify(rejected.problems) === JSON.stringify(problems)) {
      return report;
    }
    this.#inForce = { ...this.#inForce, rejected: { at: clock.wall(), problems } };
    this.#logProblems(problems);
    const [first] = problems.filter(({ severity }) => severity === 'error');
    const why = first === undefined ? '' : ` ${renderProblem(first)}`;
    decided({
      kind: 'config.rejected',
      model: null,
      replica: null,
      reason: `The new configuration cannot be used (${TRIGGERS[trigger]}); the old one stays in force.${why}`,
      detail: { version, problems: problems.length },
    });
    telemetry.reloaded('rejected');
    return report;
  }

  #logProblems(problems: readonly ConfigProblem[]): void {
    const { log } = this.#options.telemetry;
    for (const problem of problems) {
      const { severity, code, path } = problem;
      log[severity === 'error' ? 'error' : 'warn']({ code, path }, renderProblem(problem));
    }
  }
}

const TRIGGERS: Readonly<Record<ReloadTrigger, string>> = {
  file: 'a file changed',
  signal: 'SIGHUP',
  api: 'asked for over the API',
};

function fromMachine(config: Config | null, message: string): ConfigProblem {
  const source = config?.source ?? 'environment';
  return { severity: 'error', source, line: null, column: null, path: '', code: 'unknown_device', message };
}

function fieldsOf(diff: ConfigDiff): Readonly<Record<string, string | number>> {
  return {
    keep: diff.keep.length,
    drain_and_restart: named(diff.drainAndRestart),
    remove: named(diff.remove),
    add: named(diff.add),
    changed: named(pathsOf(diff)),
  };
}

const pathsOf = ({ changed }: ConfigDiff): readonly string[] => changed.map(({ path }: SettingChange) => path);

function inWords(diff: ConfigDiff): string {
  const parts = [
    ['removed', diff.remove],
    ['added', diff.add],
    ['drained and started anew when wanted', diff.drainAndRestart],
    ['changed', pathsOf(diff)],
  ] as const;
  const told = parts.flatMap(([what, names]) => (names.length > 0 ? [`${what}: ${named(names)}`] : []));
  const kept = `${diff.keep.length} ${diff.keep.length === 1 ? 'model goes' : 'models go'} on`;
  return `${[kept, ...told].join('; ')}.`;
}

function named(names: readonly string[]): string {
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : '';
  return `${names.slice(0, MOST_NAMES).join(', ')}${more}`;
}

function brief(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}
