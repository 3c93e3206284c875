/**
 * What the daemon's answers must hold to be believed. Something between us and it (a proxy of the socket, a disk that is
 * full) may answer with a page, half an object or nothing; taken for a list, that would say that no engine runs.
 */
import { DockerFailure } from './failures.ts';

export function notTheDaemon(): DockerFailure {
  return new DockerFailure('broken', null, 'its socket does not answer as Docker does');
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Throws a DockerFailure unless it is a list of objects that each have the text `key`. */
export function asList<Entry>(reply: readonly Entry[], key: keyof Entry & string): readonly Entry[] {
  const entries: unknown = reply;
  const sound = Array.isArray(entries) && entries.every((entry) => isObject(entry) && typeof entry[key] === 'string');
  if (!sound) throw notTheDaemon();
  return reply;
}

const PARTS = ['State', 'Config', 'HostConfig', 'NetworkSettings'] as const;

/** Throws a DockerFailure unless it describes a container. */
export function asFacts<Facts>(reply: Facts): Facts {
  const facts: unknown = reply;
  const sound =
    isObject(facts) &&
    typeof facts['Id'] === 'string' &&
    typeof facts['Name'] === 'string' &&
    PARTS.every((part) => isObject(facts[part]));
  if (!sound) throw notTheDaemon();
  return reply;
}
