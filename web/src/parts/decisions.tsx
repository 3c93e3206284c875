/** What the gateway decided, newest first, each with its reason. */
import { colourOf } from '../colours.ts';
import { clockTime } from '../format.ts';
import { logAddress } from '../replicas.ts';
import type { TimelineEntry } from '../store.ts';

interface DecisionsProps {
  readonly entries: readonly TimelineEntry[];
  readonly models: readonly string[];
}

export function Decisions({ entries, models }: DecisionsProps) {
  if (entries.length === 0) {
    return (
      <p class="quiet">
        Nothing has been decided yet: load a model, or <a href="#/chat">ask one</a>.
      </p>
    );
  }
  return (
    <ol class="decisions">
      {entries.toReversed().map((entry) => (
        <li key={`${entry.run}-${entry.seq}`}>
          <time dateTime={entry.at} title={entry.at}>
            {clockTime(entry.at)}
          </time>
          <span class={`kind ${toneOf(entry.kind)}`}>{titleOf(entry.kind)}</span>
          <span class="subject">
            {entry.model !== null && (
              <>
                <i class={`swatch engine ${colourOf(entry.model, models)}`} aria-hidden="true" />
                {entry.model}
              </>
            )}
            {entry.replica !== null && toneOf(entry.kind) === 'bad' && (
              <>
                {' '}
                <a href={logAddress(entry.replica)} aria-label={`Log of ${entry.replica}`}>
                  log
                </a>
              </>
            )}
          </span>
          <span class="reason">{entry.reason}</span>
        </li>
      ))}
    </ol>
  );
}

/** `replica.start_failed` → `start failed`. */
function titleOf(kind: string): string {
  return kind.replace(/^(?:replica|model|gateway|device)\./, '').replaceAll(/[._]/g, ' ');
}

function toneOf(kind: string): string {
  if (/fail|crash|stall|unhealthy|stuck|lost|violat|quarantin|refus|reject|no_capacity/.test(kind)) return 'bad';
  if (/evict|drain|stop|fence|turn|gone|backoff/.test(kind)) return 'warn';
  return /ready|adopt/.test(kind) ? 'good' : 'idle';
}
