/** Secrets: plain, `file:PATH`, and for keys `sha256:HEX`. Of keys only the digest is kept. */
import type { ConfigFiles } from './locate.ts';
import { absolute, readSmallText } from './locate.ts';

export interface SecretReader {
  /** The secret itself, or why it cannot be had. Never echoes it. */
  text(written: string): Promise<{ value: string } | { complaint: string }>;
  /** SHA-256 of the secret, lower-case hex. */
  digest(written: string): Promise<{ value: string } | { complaint: string }>;
}

const HEX = /^[0-9a-f]{64}$/i;

export async function sha256(text: string): Promise<string> {
  const bytes = new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Relative paths are relative to `cwd`, as every other path of the configuration. */
export function secretReader(files: ConfigFiles, cwd: string): SecretReader {
  const text = async (written: string): Promise<{ value: string } | { complaint: string }> => {
    if (!written.startsWith('file:')) return checked(written.trim(), 'the secret');
    const path = written.slice('file:'.length).trim();
    if (path === '') return { complaint: '"file:" names no file; allowed: file:PATH' };
    const result = await readSmallText(files, absolute(cwd, path));
    return 'reason' in result
      ? { complaint: `the file ${path} ${result.reason}` }
      : checked(result.text.trim(), `the file ${path}`);
  };
  return {
    text,
    digest: async (written) => {
      if (written.startsWith('sha256:')) {
        const hex = written.slice('sha256:'.length).trim();
        return HEX.test(hex)
          ? { value: hex.toLowerCase() }
          : {
              complaint:
                '"sha256:" must be followed by 64 hexadecimal digits, as `printf %s KEY | sha256sum` prints them',
            };
      }
      const secret = await text(written);
      return 'value' in secret ? { value: await sha256(secret.value) } : secret;
    },
  };
}

function checked(secret: string, what: string): { value: string } | { complaint: string } {
  if (secret === '') return { complaint: `${what} is empty` };
  // Keys travel in HTTP headers: blanks and control characters would never match.
  return /^[\u0021-\u00ff ]+$/.test(secret)
    ? { value: secret }
    : { complaint: `${what} holds a line break or a character that no HTTP header carries` };
}
