/** How many processes the data planes of gateways under test have: `TEST_WORKERS`, 1 unless said otherwise. */
export const testWorkers = (): number => Number(process.env['TEST_WORKERS'] ?? '1');

/** Lines under `server:`, with as many workers as the tests are run with where they do not say it themselves. */
export function withWorkers(server: string): string {
  if (testWorkers() === 1 || server.includes('workers:')) return server;
  return `  workers: ${testWorkers()}\n${server}`;
}
