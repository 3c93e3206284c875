/** The smallest schedule that still breaks the same promise. */
import { runScenario } from './run-scenario.ts';
import type { Intent, Scenario, SimulatedModel } from './scenario.ts';

/** What a file in `regressions/` holds: a world that once broke a promise and must not do so again. */
export interface Regression {
  readonly violation: string;
  readonly message: string;
  readonly scenario: Scenario;
}

export function shrink(scenario: Scenario): Regression | undefined {
  const first = runScenario(scenario).failure;
  if (!first) return undefined;
  const violation = first.violation.id;
  const fails = (candidate: Scenario): boolean => runScenario(candidate).failure?.violation.id === violation;
  let smallest = scenario;
  const keepIfFails = (candidate: Scenario): boolean => {
    if (!fails(candidate)) return false;
    smallest = candidate;
    return true;
  };
  keepIfFails({ ...smallest, intents: smallest.intents.filter((intent) => intent.at <= first.at) });
  smallest = fewerIntents(smallest, fails);
  keepIfFails({ ...smallest, timerLagMs: 0 });
  keepIfFails({ ...smallest, latencyMs: 0 });
  for (const model of smallest.models) keepIfFails(withoutModel(smallest, model));
  for (const device of smallest.devices.toReversed()) {
    keepIfFails({ ...smallest, devices: smallest.devices.filter((other) => other !== device) });
  }
  for (const intent of smallest.intents) {
    if (intent.kind !== 'request') continue;
    const { intents } = smallest;
    const plainer: Intent = { ...intent, count: 1, patience: null, leavesAfter: null, connectFailures: 0 };
    keepIfFails({ ...smallest, intents: intents.map((other) => (other === intent ? plainer : other)) });
  }
  smallest = fewerIntents(smallest, fails);
  const last = Math.max(0, ...smallest.intents.map((intent) => intent.at));
  keepIfFails({ ...smallest, safetyMs: last + 1 });
  const message = runScenario(smallest).failure?.message ?? first.message;
  return { violation, message, scenario: smallest };
}

function withoutModel(scenario: Scenario, model: SimulatedModel): Scenario {
  const { name } = model.settings;
  return {
    ...scenario,
    models: scenario.models.filter((other) => other !== model),
    intents: scenario.intents.filter((intent) => !('model' in intent) || intent.model !== name),
  };
}

/** Delta debugging: takes away halves, quarters, … as long as the failure stays. */
function fewerIntents(scenario: Scenario, fails: (candidate: Scenario) => boolean): Scenario {
  let intents = [...scenario.intents];
  let pieces = 2;
  while (intents.length > 1 && pieces <= intents.length) {
    const size = Math.ceil(intents.length / pieces);
    let found = false;
    for (let from = 0; from < intents.length; from += size) {
      const rest = [...intents.slice(0, from), ...intents.slice(from + size)];
      if (!fails({ ...scenario, intents: rest })) continue;
      intents = rest;
      found = true;
      break;
    }
    if (found) pieces = Math.max(2, pieces - 1);
    else if (size === 1) break;
    else pieces = Math.min(intents.length, pieces * 2);
  }
  return { ...scenario, intents };
}
