/** What the page knows, in one place; whoever shows a part of it is drawn again when it changes. */
import { useEffect, useState } from 'preact/hooks';
import type { ActivityEvent, DecisionEvent, StatusAnswer, ViewerEvent } from '../../src/admin/contract.ts';

export type Connection =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  /** The gateway is away or restarts. */
  | { readonly kind: 'reconnecting'; readonly attempt: number }
  /** It answered, and refused: `status` 401, 403, 404 …; `message` says why, in its words. */
  | { readonly kind: 'refused'; readonly status: number; readonly message: string };

export interface TimelineEntry extends DecisionEvent {
  /** Decisions count from 1 in every life of the gateway. */
  readonly run: number;
}

export interface State {
  readonly connection: Connection;
  readonly status: StatusAnswer | null;
  readonly viewer: ViewerEvent;
  /** Newest last. */
  readonly decisions: readonly TimelineEntry[];
  /** Newest last. */
  readonly activity: readonly ActivityEvent[];
  readonly run: number;
  readonly keyDialog: { readonly reason: string } | null;
}

const NOBODY: ViewerEvent = { admin: false, inference: false };
const KEPT_DECISIONS = 500;
const KEPT_ACTIVITY = 330;

let state: State = {
  connection: { kind: 'connecting' },
  status: null,
  viewer: NOBODY,
  decisions: [],
  activity: [],
  run: 0,
  keyDialog: null,
};
const listeners = new Set<() => void>();

export function readState(): State {
  return state;
}

export function change(part: Partial<State>): void {
  state = { ...state, ...part };
  for (const listener of listeners) listener();
}

export function useStore(): State {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = (): void => redraw((count) => count + 1);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return state;
}

/** What the gateway sends again after a break is known already. */
export function addDecision(decision: DecisionEvent): void {
  const { run, decisions } = state;
  const last = decisions.at(-1);
  if (last?.run === run && last.seq >= decision.seq) return;
  change({ decisions: [...decisions, { ...decision, run }].slice(-KEPT_DECISIONS) });
}

export function addActivity(activity: ActivityEvent): void {
  change({ activity: [...state.activity, activity].slice(-KEPT_ACTIVITY) });
}

/** Lives of one gateway are told apart by when they began; its clock may be a little off between two answers. */
const SAME_START_MS = 1_500;

export function addStatus(status: StatusAnswer): void {
  const before = state.status?.gateway;
  const { gateway } = status;
  const moved = before ? Math.abs(Date.parse(before.started_at) - Date.parse(gateway.started_at)) : 0;
  if (before && moved > SAME_START_MS) change({ status, run: state.run + 1, activity: [] });
  else change({ status });
}

export function askForKey(reason: string): void {
  change({ keyDialog: { reason } });
}
