import { expect, it } from 'vitest';
import { FieldNames } from './field-names.ts';

it('judges each way of writing a name once, and says the same of it ever after', () => {
  const asked: string[] = [];
  const names = new FieldNames((name) => {
    asked.push(name);
    return name.startsWith('x-');
  });
  const said = ['X-A', 'x-a', 'Via', 'X-A', 'via', 'Via'].map((name) => names.of(name));
  expect(said).toEqual(['x-a', 'x-a', '', 'x-a', '', '']);
  expect(asked).toEqual(['x-a', 'x-a', 'via', 'via']);
});

it('remembers so many names and no more, and none that is long', () => {
  let asked = 0;
  const names = new FieldNames(() => ++asked > 0);
  for (let count = 0; count < 1_024; count += 1) names.of(`x-${count}`);
  expect([names.of('x-0'), asked]).toEqual(['x-0', 1_024]);
  const long = 'x'.repeat(65);
  expect([names.of(long), names.of(long), asked]).toEqual([long, long, 1_026]);
  names.of('x-one-more');
  names.of('x-0');
  expect(asked).toBe(1_028);
});
