/** Configurations of whole-gateway tests, written as objects. */

/** Starts in a moment, and answers without pauses. */
export const QUICK: Readonly<Record<string, string>> = {
  FAKE_VLLM_START_MS: '50',
  FAKE_VLLM_TTFT_MS: '0',
  FAKE_VLLM_TOKEN_MS: '0',
  FAKE_VLLM_CONTROL: '1',
};

/** Engines as simulated child processes; `more` replaces top-level keys. JSON is YAML. */
export function gatewayYaml(
  models: Readonly<Record<string, unknown>>,
  more: Readonly<Record<string, unknown>> = {},
): string {
  const drivers = { default: 'process', process: { command: ['simulated-vllm'] } };
  return Object.entries({ drivers, models, ...more })
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}`)
    .join('\n');
}
