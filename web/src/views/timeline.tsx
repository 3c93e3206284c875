import { Decisions } from '../parts/decisions.tsx';
import type { State } from '../store.ts';

export function Timeline({ state, model }: { readonly state: State; readonly model: string | null }) {
  const models = Object.keys(state.status?.models ?? {});
  const entries = model === null ? state.decisions : state.decisions.filter((entry) => entry.model === model);
  return (
    <section aria-labelledby="timeline">
      <div class="head">
        <h2 id="timeline">
          Events <small>every decision, with its reason</small>
        </h2>
        <label>
          Model
          <select
            value={model ?? ''}
            onChange={(event) => {
              const { value } = event.currentTarget;
              location.hash = value === '' ? '#/events' : `#/events/${encodeURIComponent(value)}`;
            }}
          >
            <option value="">all</option>
            {models.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      </div>
      <Decisions entries={entries} models={models} />
    </section>
  );
}
