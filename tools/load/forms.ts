/** Every form of load, by the name it is asked for. */
import type { Form } from './forms/form.ts';
import { soakForm } from './forms/soak.ts';

export const FORMS: Readonly<Record<string, Form>> = { soak: soakForm };
