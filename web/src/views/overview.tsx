import { Decisions } from '../parts/decisions.tsx';
import { Devices } from '../parts/devices.tsx';
import { Models } from '../parts/models.tsx';
import { Plots } from '../parts/plots.tsx';
import type { State } from '../store.ts';

const SHOWN_EVENTS = 8;

export function Overview({ state }: { readonly state: State }) {
  const { status } = state;
  if (!status) return null;
  const problems = status.config.problems.filter(({ severity }) => severity !== 'info');
  return (
    <>
      {problems.length > 0 && (
        <section class="problems" aria-label="Problems of the configuration">
          {problems.map(({ path, message }) => (
            <p key={`${path}${message}`}>
              <code>{path}</code> {message}
            </p>
          ))}
        </section>
      )}
      <Devices status={status} />
      <Models state={state} status={status} />
      <Plots activity={state.activity} />
      <section aria-labelledby="recent">
        <h2 id="recent">
          Events <a href="#/events">all of them</a>
        </h2>
        <Decisions entries={state.decisions.slice(-SHOWN_EVENTS)} models={Object.keys(status.models)} />
      </section>
    </>
  );
}
