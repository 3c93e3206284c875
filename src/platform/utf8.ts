/** Natively, many bytes at once. */
export { isUtf8 } from 'node:buffer';
