import { Decisions } from '../parts/decisions.tsx';
import { Devices } from '../parts/devices.tsx';
import { Models } from '../parts/models.tsx';
import { Plots } from '../parts/plots.tsx';
import { ConfigNote } from '../parts/problems.tsx';
import type { State } from '../store.ts';

const SHOWN_EVENTS = 8;

export function Overview({ state }: { readonly state: State }) {
  const { status } = state;
  if (!status) return null;
  return (
    <>
      <ConfigNote config={status.config} />
      <Devices status={status} />
      <Models state={state} status={status} />
      <Plots activity={state.activity} />
      <section class="brief" aria-labelledby="recent">
        <h2 id="recent">
          Events <a href="#/events">all of them</a>
        </h2>
        <Decisions entries={state.decisions.slice(-SHOWN_EVENTS)} models={Object.keys(status.models)} />
      </section>
    </>
  );
}
