import { describe, expect, it } from 'vitest';
import { readTraceContext, traceparent } from './trace-context.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const VALID = `00-${TRACE}-${SPAN}-01`;

const stateOf = (...fields: string[]): string | undefined =>
  readTraceContext(['traceparent', VALID, ...fields.flatMap((field) => ['tracestate', field])])?.traceState;

describe('the trace context of a client', () => {
  it('is read whatever the case of the header’s name', () => {
    expect(readTraceContext(['TraceParent', VALID, 'TRACESTATE', 'a=1'])).toEqual({
      traceId: TRACE,
      spanId: SPAN,
      sampled: true,
      traceState: 'a=1',
    });
    expect(readTraceContext(['traceparent', ` ${VALID}\t`])?.spanId).toBe(SPAN);
  });

  it('knows one flag and lets the others be', () => {
    for (const [flags, sampled] of [
      ['00', false],
      ['01', true],
      ['02', false],
      ['03', true],
      ['ff', true],
    ] as const)
      expect(readTraceContext(['traceparent', `00-${TRACE}-${SPAN}-${flags}`])?.sampled).toBe(sampled);
  });

  it('may be of a later version, with more fields behind', () => {
    expect(readTraceContext(['traceparent', `cc-${TRACE}-${SPAN}-01`])?.traceId).toBe(TRACE);
    expect(readTraceContext(['traceparent', `cc-${TRACE}-${SPAN}-01-what.will-be`])?.traceId).toBe(TRACE);
    expect(readTraceContext(['traceparent', `cc-${TRACE}-${SPAN}-01.what`])).toBeNull();
  });

  it.each([
    '',
    '00',
    `00-${TRACE}-${SPAN}`,
    `${VALID}-`,
    `${VALID}-more`,
    `ff-${TRACE}-${SPAN}-01`,
    `0-${TRACE}-${SPAN}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE.slice(1)}-${SPAN}-01`,
    `00-${TRACE}0-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE}-${SPAN}-0g`,
    `00_${TRACE}_${SPAN}_01`,
    `${VALID},${VALID}`,
    `${VALID}\n`,
    `cc-${TRACE}-${SPAN}-01-${'x'.repeat(10_000)}`,
  ])('is not there when it reads %j', (text) => {
    expect(readTraceContext(['traceparent', text])).toBeNull();
  });

  it('is not there when it is sent twice, or only half of it', () => {
    expect(readTraceContext(['traceparent', VALID, 'traceparent', VALID])).toBeNull();
    expect(readTraceContext(['tracestate', 'a=1'])).toBeNull();
    expect(readTraceContext([])).toBeNull();
  });

  it('has a state in any number of fields, in order, empty members left out', () => {
    expect(stateOf('a=1, b=2', ',', 'c@d=x y')).toBe('a=1,b=2,c@d=x y');
    expect(stateOf()).toBe('');
    expect(stateOf(Array.from({ length: 32 }, (_, index) => `k${index}=v`).join())).not.toBe('');
  });

  it.each([
    'a',
    '=1',
    'A=1',
    'a=1=2',
    'a=1,a=2',
    'a=\u00e4',
    'a=b\u0000',
    'ä=1',
    'a@B=1',
    'a=',
    `a=${'x'.repeat(257)}`,
    `${'k'.repeat(257)}=1`,
    Array.from({ length: 33 }, (_, index) => `k${index}=v`).join(),
    `a=${'x'.repeat(250)},b=${'x'.repeat(250)},c=${'x'.repeat(20)}`,
  ])('loses a state that reads %j, and only that', (state) => {
    expect(stateOf(state)).toBe('');
    expect(readTraceContext(['traceparent', VALID, 'tracestate', state])?.traceId).toBe(TRACE);
  });

  it('costs no more than its length, whatever is in it', () => {
    // A pattern for the blanks at its end took seconds for so many in its middle.
    const blanks = ' '.repeat(40_000);
    const began = performance.now();
    expect(readTraceContext(['traceparent', `0${blanks}0`])).toBeNull();
    expect(stateOf(`a=1${blanks}0`)).toBe('');
    expect(stateOf(`${blanks}a=1${blanks}`)).toBe('a=1');
    expect(performance.now() - began).toBeLessThan(500);
  });

  it('is written as it is read', () => {
    expect(traceparent(TRACE, SPAN, true)).toBe(VALID);
    expect(traceparent(TRACE, SPAN, false)).toBe(`00-${TRACE}-${SPAN}-00`);
  });
});
