/** The keys of `telemetry`. The standard variables of OpenTelemetry mean what its specification says. */
import { collectorUrl } from './address-reader.ts';
import { checkHeader } from './header-name.ts';
import { group, key } from './key.ts';
import { flag, fraction, nullable } from './reader.ts';
import { mapping, text } from './text-reader.ts';

export const traceKeys = {
  endpoint: key({
    reader: nullable(collectorUrl()),
    fallback: null,
    about: 'OTLP collector that traces are sent to as JSON, /v1/traces appended where it is missing; null = no traces.',
    env: ['OTEL_EXPORTER_OTLP_ENDPOINT'],
    fromEnv: { ...nullable(collectorUrl()), lenient: true },
  }),
  headers: key({
    reader: mapping(
      text({ what: 'text, ${NAME}, or file:PATH', secret: true }),
      'a mapping of header names to values',
      checkHeader,
    ),
    fallback: {},
    about: 'Headers of every export, beside those of OTEL_EXPORTER_OTLP_HEADERS; values plain, ${NAME}, or file:PATH.',
  }),
  sample_ratio: key({
    reader: fraction(0, 1),
    fallback: 1,
    about:
      'The part of the traces that begin here which is recorded; a caller that sends a trace context decides itself.',
  }),
  service_name: key({
    reader: text({ what: 'a name such as vllm-gateway', max: 256 }),
    fallback: 'vllm-gateway',
    about: 'Name of the service in the traces.',
    env: ['OTEL_SERVICE_NAME'],
  }),
  genai_attributes: key({
    reader: flag(),
    fallback: false,
    about: 'Adds gen_ai.* attributes: operation, model and token counts, never content. Their names may still change.',
  }),
};

export const telemetryKeys = { traces: group('Traces of requests and starts.', traceKeys) };
