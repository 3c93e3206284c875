/** The decisions of a gateway in this process, as its log tells them. */
import type { TestGateway } from './in-process-gateway.ts';

export interface LoggedDecision {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly event: string;
  readonly model: string;
  readonly replica: string;
  readonly msg: string;
}

export function decisionsOf(gateway: TestGateway): readonly LoggedDecision[] {
  return gateway.lines.flatMap((line) => {
    const entry = JSON.parse(line) as Partial<LoggedDecision> & { readonly time: string };
    if (entry.event === undefined) return [];
    const { event, model, replica, msg } = entry;
    return [{ at: Date.parse(entry.time), event, model: model ?? '', replica: replica ?? '', msg: msg ?? '' }];
  });
}
