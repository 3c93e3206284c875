/** Lines of vLLM's log, without what stands before and around the message. */

/** `(EngineCore pid=812) ERROR 11-22 13:43:04 [core.py:1510] `, each part of it optional. A simulated engine says first that it is one. */
const PREFIX =
  /^(?:simulated )?(?:\([^()]*pid=\d+\)\s)?(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+\d\d-\d\d\s\d\d:\d\d:\d\d\s+\[[^\]]*\]\s)?/;

export function message(line: string): string {
  return line.replace(PREFIX, '');
}

const MAX_QUOTE = 240;

/** Safe to show to a client: no paths, addresses, tokens or keys, one line, bounded. */
export function quote(text: string): string {
  const clean = text
    .replace(/\b(?:hf_|vgw-|sk-)[\w-]+/g, '<token>')
    .replace(/\b[a-z][a-z0-9+.-]*:\/\/[^\s'")]+/gi, '<address>')
    .replace(/\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b/g, '<address>')
    .replace(/(?<![\w.<])(?:~|\.{1,2})?\/[\w.@+~-]+(?:\/[\w.@+~-]*)*/g, '<path>')
    .replace(/\s+/g, ' ')
    .trim();
  return clean.length <= MAX_QUOTE ? clean : `${clean.slice(0, MAX_QUOTE - 1)}…`;
}
