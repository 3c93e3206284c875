/** Which paths belong to the control plane on a listener that the data plane has too. */

const EVERYWHERE: ReadonlySet<string> = new Set(['/', '/healthz', '/readyz', '/gateway/status']);

/** `separate`: the control plane has a listener of its own, and only a part of it stays here. Paths are raw, without the query. */
export function controlOwns(separate: boolean): (path: string) => boolean {
  return separate ? (path) => EVERYWHERE.has(path) || isStatic(path) : isControl;
}

function isControl(path: string): boolean {
  return (
    EVERYWHERE.has(path) || path === '/metrics' || path === '/gateway' || path.startsWith('/gateway/') || isStatic(path)
  );
}

function isStatic(path: string): boolean {
  return path.startsWith('/static/');
}
