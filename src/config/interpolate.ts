/**
 * `${NAME}` and `${NAME:-default}` inside a scalar; `$${` is a literal `${`. Lower-case names are templates that the
 * engine launch fills in, legal only where an engine is described.
 */
import { suggest } from './suggest.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Interpolation {
  readonly text: string;
  /** Something was put in from the environment. */
  readonly substituted: boolean;
  readonly complaints: readonly { readonly code: string; readonly message: string }[];
}

export const TEMPLATES = ['port', 'host', 'model', 'repo', 'devices'] as const;

const TOKEN = /\$\$\{|\$\{([^}]*)(\}?)/g;
const VARIABLE = /^([A-Z_][A-Z0-9_]*)(?::-([\s\S]*))?$/;
const TEMPLATE = /^[a-z][a-z0-9_]*$/;

export function interpolate(text: string, env: Environment, templatesAllowed: boolean): Interpolation {
  const complaints: { code: string; message: string }[] = [];
  let substituted = false;
  const complain = (code: string, message: string, token: string): string => {
    complaints.push({ code, message });
    return token;
  };
  const result = text.replaceAll(
    TOKEN,
    (token: string, inner: string | undefined, close: string | undefined, offset: number) => {
      if (inner === undefined) {
        // In an engine's command a literal that looks like a template stays escaped for the launch to undo.
        return templatesAllowed && /^[a-z]/.test(text.slice(offset + 3)) ? token : '${';
      }
      if (close !== '}')
        return complain(
          'interpolation',
          `"\${" is not closed; write "}" behind the name, or "$\${" for a literal`,
          token,
        );
      if (inner.includes('${')) {
        return complain(
          'interpolation',
          `\${…} may not stand inside another one; allowed: \${NAME} or \${NAME:-default}`,
          token,
        );
      }
      const variable = VARIABLE.exec(inner);
      if (variable) {
        const name = variable[1] ?? '';
        const value = env[name];
        substituted = true;
        if (value !== undefined && value !== '') return value;
        if (variable[2] !== undefined) return variable[2];
        return complain(
          'unset_variable',
          `the variable ${name} is not set; set it, or write a default as \${${name}:-value}, or $\${${name}} for the literal text`,
          token,
        );
      }
      if (TEMPLATE.test(inner)) return template(inner, token, templatesAllowed, complain);
      return complain(
        'interpolation',
        `${JSON.stringify(`\${${inner}}`)} names no variable; allowed: upper-case letters, digits and "_" as in \${NAME} or \${NAME:-default}; "$\${" is a literal`,
        token,
      );
    },
  );
  return { text: result, substituted, complaints };
}

function template(
  name: string,
  token: string,
  allowed: boolean,
  complain: (code: string, message: string, token: string) => string,
): string {
  if (!allowed) {
    const places = 'command, env and health_path';
    return complain(
      'interpolation',
      `${token} is an engine template, allowed only in ${places}; variables are upper-case, and "$\${" is a literal`,
      token,
    );
  }
  if (TEMPLATES.some((known) => known === name)) return token;
  const near = suggest(name, TEMPLATES);
  const hint = near === undefined ? '' : `; did you mean "\${${near}}"?`;
  const known = TEMPLATES.map((word) => `\${${word}}`).join(', ');
  return complain('interpolation', `${token} is not an engine template; allowed: ${known}${hint}`, token);
}
