/** What an engine wants run: the engine wrote it, the driver runs it as it is. */
export interface LaunchSpec {
  readonly argv: readonly string[];
  /** Added to (process: over) the driver's own base environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly host: string;
  readonly port: number | null;
  /** External servers: where they are; argv is empty then. */
  readonly url: string | null;
}
