/**
 * The built dashboard, read once at the start: a page and its files, by exact path, so that no path can lead anywhere
 * else. There is no data in them; the page asks for that with the key of whoever reads it.
 */
import { SECURITY_HEADERS } from './page.ts';

/** Where the files lie. Only text is served. */
export interface StaticSource {
  /** Names in a folder, sorted; empty when the folder is absent. */
  list(folder: string): Promise<readonly string[]>;
  readText(path: string): Promise<string | undefined>;
  sha256(text: string): string;
}

export interface StaticFile {
  /** Of its URL: `/`, or below `/static/`. */
  readonly path: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

const TYPES: Readonly<Record<string, string>> = {
  js: 'text/javascript',
  css: 'text/css',
  svg: 'image/svg+xml',
};
/** Names hold a hash of the content: another content has another name. */
const HASHED = /^[\w-]+-[\w-]{8,}\.(?<ending>js|css|svg)$/;
const DASHBOARD_POLICY =
  "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const ETAG_LENGTH = 20;
const FOREVER = 'public, max-age=31536000, immutable';

/** Undefined when `folder` holds no page. */
export async function readStaticFiles(
  source: StaticSource,
  folder: string,
): Promise<readonly StaticFile[] | undefined> {
  const page = await source.readText(`${folder}/index.html`);
  if (page === undefined) return undefined;
  const file = (path: string, body: string, type: string, cache: string): StaticFile => ({
    path,
    body,
    headers: {
      ...SECURITY_HEADERS,
      'content-security-policy': DASHBOARD_POLICY,
      'content-type': `${type}; charset=utf-8`,
      'cache-control': cache,
      etag: `"${source.sha256(body).slice(0, ETAG_LENGTH)}"`,
    },
  });
  const files = [file('/', page, 'text/html', 'no-cache')];
  for (const name of await source.list(`${folder}/static`)) {
    const type = TYPES[HASHED.exec(name)?.groups?.['ending'] ?? ''];
    const body = type === undefined ? undefined : await source.readText(`${folder}/static/${name}`);
    if (type !== undefined && body !== undefined) files.push(file(`/static/${name}`, body, type, FOREVER));
  }
  return files;
}

/** 304 to whoever has it already. `vary`: of a path that answers different callers differently. */
export function staticReply({ body, headers }: StaticFile, ifNoneMatch: string | undefined, vary?: string): Response {
  const sent = new Headers(headers);
  if (vary !== undefined) sent.set('vary', vary);
  const etag = headers['etag'];
  if (etag === undefined || !matches(ifNoneMatch ?? '', etag)) return new Response(body, { headers: sent });
  sent.delete('content-type');
  return new Response(null, { status: 304, headers: sent });
}

/** As caches compare: a weakened tag is the same tag. */
function matches(ifNoneMatch: string, etag: string): boolean {
  return ifNoneMatch.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag);
}
