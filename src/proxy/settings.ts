/** What the data plane must know of the configuration. Immutable; a reload replaces the whole record. */
import type { Bytes, Milliseconds } from '../units.ts';

export interface ProxyModel {
  /** The configured (canonical) name. */
  readonly name: string;
  readonly aliases: readonly string[];
  /** `owned_by` in `/v1/models`. */
  readonly ownedBy: string;
  /** Null when unknown. */
  readonly maxModelLen: number | null;
  readonly description: string | null;
  readonly metadata: Readonly<Record<string, unknown>> | null;
  /** Served, but left out of the list. */
  readonly unlisted: boolean;
  /** Top-level body keys with their JSON text, inserted where the client gave none. Never `model`. */
  readonly requestDefaults: ReadonlyMap<string, string>;
  /** Extra POST paths of this model. */
  readonly routes: readonly string[];
  /** Heartbeats of waiting streams; `after` 0 = off. */
  readonly keepalive: { readonly after: Milliseconds; readonly every: Milliseconds };
  readonly timeouts: {
    readonly connect: Milliseconds;
    /** From the lease to the first body byte; 0 = none. */
    readonly firstByte: Milliseconds;
    /** 0 = none. */
    readonly betweenChunks: Milliseconds;
    /** 0 = none for streams, one hour for plain answers. */
    readonly total: Milliseconds;
  };
}

export interface ProxySettings {
  /** By canonical name, in the order of the configuration. */
  readonly models: ReadonlyMap<string, ProxyModel>;
  /** Alias → canonical name. */
  readonly aliases: ReadonlyMap<string, string>;
  /** When this configuration came into force; `created` in `/v1/models`. Milliseconds since the epoch. */
  readonly loadedAt: Milliseconds;
  readonly maxBodySize: Bytes;
  /** Bodies held in memory, all requests together. */
  readonly maxBufferedBytes: Bytes;
  /** Exact origins, or `*`. Empty = no CORS headers at all. */
  readonly corsOrigins: readonly string[];
  readonly retry: {
    /** In all, the first one included. */
    readonly attempts: number;
    readonly delay: Milliseconds;
    readonly factor: number;
    readonly engineDown: boolean;
  };
}

/** The model that a name stands for; names and aliases match byte for byte. */
export function resolveModel(settings: ProxySettings, name: string): ProxyModel | undefined {
  return settings.models.get(name) ?? settings.models.get(settings.aliases.get(name) ?? '');
}
