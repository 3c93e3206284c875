/** What a browser sees at `/` where the dashboard was not built: a plain page without data, and its two files. */
import type { StaticFile } from './static-files.ts';

export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
};

const SCRIPT = `const state = document.querySelector('#state');
const reasons = document.querySelector('#reasons');
const show = async () => {
  try {
    const answer = await (await fetch('/readyz', { cache: 'no-store' })).json();
    state.textContent = answer.status === 'ready' ? 'ready' : 'not ready';
    state.className = answer.status;
    reasons.replaceChildren(...answer.reasons.map((reason) => {
      const item = document.createElement('li');
      item.textContent = reason;
      return item;
    }));
  } catch {
    state.textContent = 'no answer';
    state.className = 'not_ready';
  }
};
show();
setInterval(show, 5000);
`;

const STYLE = `:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 42rem; margin: 12vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; }
small { opacity: .65; font-weight: normal; }
#state { font-weight: 600; }
#state.ready { color: #1a7f37; }
#state.not_ready { color: #c93c37; }
ul { padding-left: 1.2rem; }
`;

function pageOf(version: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vLLM Gateway</title>
<link rel="stylesheet" href="/static/page.css">
<script src="/static/page.js" defer></script>
</head>
<body>
<h1>vLLM Gateway <small>${version}</small></h1>
<p>This gateway is <span id="state">running</span>.</p>
<ul id="reasons"></ul>
<p>For programs: <a href="/v1/models">/v1/models</a> · <a href="/gateway/status">/gateway/status</a> · <a href="/metrics">/metrics</a> · <a href="/readyz">/readyz</a></p>
</body>
</html>
`;
}

export function plainPage(version: string): readonly StaticFile[] {
  const file = (path: string, type: string, cache: string, body: string): StaticFile => ({
    path,
    body,
    headers: { ...SECURITY_HEADERS, 'content-type': `${type}; charset=utf-8`, 'cache-control': cache },
  });
  return [
    file('/', 'text/html', 'no-cache', pageOf(version)),
    file('/static/page.js', 'text/javascript', 'public, max-age=300', SCRIPT),
    file('/static/page.css', 'text/css', 'public, max-age=300', STYLE),
  ];
}
