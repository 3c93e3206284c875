/** The only file that needs OpenTelemetry's SDK: loaded when traces are configured, and not before. */
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { ParentBasedSampler, TraceIdRatioBasedSampler, TracerProvider } from '@opentelemetry/sdk-trace';
import type { Clock, Random } from '../../platform/platform.ts';
import type { Tracing, TraceSettings } from '../tracing.ts';
import { beginRequest } from './request-traces.ts';
import { SpanQueue } from './span-queue.ts';
import { ReplicaStarts } from './start-traces.ts';

export interface TracingOptions {
  readonly settings: TraceSettings;
  readonly version: string;
  readonly gatewayId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly dropped: (spans: number) => void;
  readonly failed: (reason: string, spans: number) => void;
  readonly safe: (text: string) => string;
}

const TRACE_ID_DIGITS = 32;
const SPAN_ID_DIGITS = 16;
const MAX_ATTRIBUTE = 256;

export function openTracing(options: TracingOptions): Tracing {
  const { settings, clock, random } = options;
  const queue = new SpanQueue({
    exporter: new OTLPTraceExporter({ url: settings.url, headers: { ...settings.headers }, concurrencyLimit: 1 }),
    clock,
    dropped: options.dropped,
    failed: options.failed,
  });
  const ratio = new TraceIdRatioBasedSampler(settings.sampleRatio);
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(detectResources({ detectors: [envDetector] }))
      .merge(
        resourceFromAttributes({
          'service.name': settings.serviceName,
          'service.version': options.version,
          'service.instance.id': options.gatewayId,
        }),
      ),
    sampler: settings.followsCaller ? new ParentBasedSampler({ root: ratio }) : ratio,
    spanLimits: { attributeValueLengthLimit: MAX_ATTRIBUTE },
    idGenerator: {
      generateTraceId: () => random.hex(TRACE_ID_DIGITS),
      generateSpanId: () => random.hex(SPAN_ID_DIGITS),
    },
    spanProcessors: [queue],
  });
  const tracer = provider.getTracer('vllm-gateway', options.version);
  const starts = new ReplicaStarts(tracer, clock);
  const { genaiAttributes } = settings;
  const requests = { tracer, clock, starts, genaiAttributes, safe: options.safe };
  return {
    begin: (request) => beginRequest(requests, request),
    starts,
    close: async (limit) => {
      starts.close();
      await queue.close(limit);
    },
  };
}
