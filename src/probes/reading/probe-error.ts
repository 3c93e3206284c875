/** Why devices cannot be read, in words that may stand in a log line and a status page. */

const EXCERPT = 160;

/** The devices cannot be read now. */
export class ProbeError extends Error {
  /** There is nothing that could be asked: no such command, no such socket. */
  readonly absent: boolean;
  constructor(message: string, absent = false) {
    super(message);
    this.name = 'ProbeError';
    this.absent = absent;
  }
}

/** One printable line of bounded length. */
export function excerpt(text: string): string {
  const line = text.replaceAll(/[\u0000-\u001f\u007f-\u009f\ufffd]+/g, ' ').trim();
  return line.length > EXCERPT ? `${line.slice(0, EXCERPT)}…` : line;
}
