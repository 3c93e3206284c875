import { describe, expect, it } from 'vitest';
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { endedReplicas, failedReplica, replicaOf } from './replicas.ts';
import type { TimelineEntry } from './store.ts';

let seq = 0;
const entry = (run: number, kind: string, model: string, replica: string | null): TimelineEntry =>
  ({ run, kind, model, replica, seq: (seq += 1) }) as TimelineEntry;

const STORY = [
  entry(0, 'replica.ready', 'llama', 'llama-0'),
  entry(1, 'replica.start_failed', 'llama', 'llama-1'),
  entry(1, 'replica.gone', 'llama', 'llama-1'),
  entry(1, 'replica.ready', 'qwen', 'qwen-1'),
  entry(1, 'replica.crashed', 'qwen', 'qwen-1'),
  entry(1, 'replica.starting', 'qwen', 'qwen-2'),
  entry(1, 'model.waiting', 'llama', null),
];

const STATUS = {
  replicas: { 'qwen-2': { model: 'qwen' } },
  models: { llama: { replicas: [] }, qwen: { replicas: ['qwen-2'] }, mistral: { replicas: [] } },
} as unknown as StatusAnswer;

describe('the engines that have ended', () => {
  it('are those of this life of the gateway, newest first, without those that run', () => {
    expect(endedReplicas(STORY, STATUS, 1)).toEqual(['qwen-1', 'llama-1']);
    expect(endedReplicas(STORY, STATUS, 2)).toEqual([]);
  });

  it('are twenty at most', () => {
    const many = Array.from({ length: 30 }, (_, index) => entry(1, 'replica.gone', 'llama', `llama-${index}`));
    const ended = endedReplicas(many, STATUS, 1);
    expect([ended.length, ended[0], ended.at(-1)]).toEqual([20, 'llama-29', 'llama-10']);
  });
});

describe('the log of a failure', () => {
  it('is that of the engine that failed last, and not of the one that was started since', () => {
    expect(failedReplica('llama', STORY, 1)).toBe('llama-1');
    expect(failedReplica('qwen', STORY, 1)).toBe('qwen-1');
  });

  it('is asked for by the name of the model where nobody knows the engine any more', () => {
    expect(failedReplica('mistral', STORY, 1)).toBe('mistral');
    expect(failedReplica('llama', STORY, 2)).toBe('llama');
  });
});

describe('a log that is asked for by the name of a model', () => {
  it('is that of its newest engine', () => {
    const ended = endedReplicas(STORY, STATUS, 1);
    expect(replicaOf('qwen', STATUS, ended)).toBe('qwen-2');
    expect(replicaOf('llama', STATUS, ended)).toBe('llama-1');
    expect(replicaOf('mistral', STATUS, ended)).toBe('mistral');
    expect(replicaOf('qwen-1', STATUS, ended)).toBe('qwen-1');
  });
});
