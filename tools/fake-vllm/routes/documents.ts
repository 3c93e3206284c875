/** FastAPI's own pages, in the smallest form that is one. */
export const DOCUMENTS: readonly { readonly path: string; readonly type: string; readonly text: string }[] = [
  {
    path: '/openapi.json',
    type: 'application/json',
    text: JSON.stringify({ openapi: '3.1.0', info: { title: 'FastAPI', version: '0.1.0' }, paths: {}, components: {} }),
  },
  { path: '/docs', type: 'text/html; charset=utf-8', text: '<!DOCTYPE html><title>FastAPI - Swagger UI</title>' },
  { path: '/docs/oauth2-redirect', type: 'text/html; charset=utf-8', text: '<!DOCTYPE html><title>OAuth2</title>' },
  { path: '/redoc', type: 'text/html; charset=utf-8', text: '<!DOCTYPE html><title>FastAPI - ReDoc</title>' },
];
