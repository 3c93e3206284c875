/** The grammar of JSON numbers (RFC 8259 §6), byte by byte. */

/** States of a number; those in NUMBER_MAY_END are complete. */
const MINUS = 0;
const ZERO = 1;
const INTEGER = 2;
const POINT = 3;
const FRACTION = 4;
const EXPONENT = 5;
const EXPONENT_SIGN = 6;
const EXPONENT_DIGITS = 7;
export const NUMBER_MAY_END: readonly boolean[] = [false, true, true, false, true, false, false, true];

/** The state after the first byte, which is a digit or a minus. */
export function beginNumber(byte: number): number {
  return byte === 0x2d ? MINUS : byte === 0x30 ? ZERO : INTEGER;
}

/** NUMBER_STEPS[state << 8 | byte]: the next state, or -1 when the byte does not belong to the number. */
export const NUMBER_STEPS = new Int8Array(NUMBER_MAY_END.length << 8);
for (let index = 0; index < NUMBER_STEPS.length; index++) NUMBER_STEPS[index] = numberStep(index >> 8, index & 0xff);

function numberStep(state: number, byte: number): number {
  const digit = byte >= 0x30 && byte <= 0x39;
  const exponent = byte === 0x65 || byte === 0x45;
  switch (state) {
    case MINUS:
      return digit ? (byte === 0x30 ? ZERO : INTEGER) : -1;
    case ZERO:
      return byte === 0x2e ? POINT : exponent ? EXPONENT : -1;
    case INTEGER:
      return digit ? INTEGER : byte === 0x2e ? POINT : exponent ? EXPONENT : -1;
    case POINT:
      return digit ? FRACTION : -1;
    case FRACTION:
      return digit ? FRACTION : exponent ? EXPONENT : -1;
    case EXPONENT:
      return digit ? EXPONENT_DIGITS : byte === 0x2b || byte === 0x2d ? EXPONENT_SIGN : -1;
    case EXPONENT_SIGN:
    case EXPONENT_DIGITS:
      return digit ? EXPONENT_DIGITS : -1;
    default:
      return -1;
  }
}
