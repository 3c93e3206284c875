/** Numbers as people read them. */
const MIB_PER_GIB = 1024;
export const BYTES_PER_MIB = 1024 * 1024;

export function gib(mib: number): string {
  if (mib === 0) return '0';
  if (mib < MIB_PER_GIB) return `${Math.round(mib)}MiB`;
  const value = mib / MIB_PER_GIB;
  return `${value >= 100 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, '')}GiB`;
}

export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export function ago(moment: string, now: number): string {
  const seconds = Math.max(0, (now - Date.parse(moment)) / 1000);
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86_400)} d ago`;
}

export function clockTime(moment: string): string {
  return new Date(moment).toLocaleTimeString('en-GB');
}

export function quantity(value: number): string {
  if (value === 0) return '0';
  if (value < 10) return value.toFixed(1).replace(/\.0$/, '');
  return value < 10_000 ? String(Math.round(value)) : `${(value / 1000).toFixed(1)}k`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** The first part of a UUID tells devices apart; whoever needs all of it finds it beside the bar. */
export function shortDevice(id: string): string {
  return /^(?:GPU|MIG)-[0-9a-f]{8}-/i.test(id) ? `${id.slice(0, 12)}…` : id;
}

/** `out_of_memory` → `out of memory`. */
export function words(code: string): string {
  return code.replaceAll('_', ' ');
}
