/** What the documents say, as a reader's browser and shell would take it: anchors, links, commands, names. */
import { existsSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import type { Command } from 'commander';
import { readSource, ROOT } from './source-tree.ts';

/** Lines inside ``` fences, and the text without them. */
function split(markdown: string): { readonly prose: string; readonly fences: readonly Fence[] } {
  const fences: Fence[] = [];
  const prose = markdown.replaceAll(/^```(\w*)\n([^]*?)^```$/gm, (_whole, language: string, body: string) => {
    fences.push({ language, body });
    return '';
  });
  return { prose, fences };
}

interface Fence {
  readonly language: string;
  readonly body: string;
}

/** Anchors that a rendered page has: of each heading, the second of one name with `-1`. */
export function anchorsOf(markdown: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of split(markdown).prose.matchAll(/^#{1,6} +(.*?) *$/gm)) {
    const plain = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '');
    const anchor = plain
      .toLowerCase()
      .replaceAll(/[^\p{Letter}\p{Number}\p{Mark}_ -]/gu, '')
      .replaceAll(' ', '-');
    let unique = anchor;
    for (let more = 1; anchors.has(unique); more += 1) unique = `${anchor}-${more}`;
    anchors.add(unique);
  }
  return anchors;
}

/** Targets of links and images that lie in this repository, as written. */
export function linksOf(markdown: string): readonly string[] {
  const prose = split(markdown).prose.replaceAll(/(`+)[^`].*?\1/g, '');
  return [...prose.matchAll(/\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)|^\[[^\]]+\]: *(\S+)/gm)]
    .map(([, inline, reference]) => inline ?? reference ?? '')
    .filter((target) => !/^[a-z][a-z+.-]*:/i.test(target));
}

/** The file and anchor that a link on `path` leads to. */
export function resolveLink(path: string, target: string): { readonly path: string; readonly anchor: string } {
  const [file = '', anchor = ''] = decodeURIComponent(target).split('#');
  return { path: file === '' ? path : posix.normalize(posix.join(posix.dirname(path), file)), anchor };
}

/** Why a link leads nowhere; null when it leads somewhere. */
export function deadLink(path: string, target: string): string | null {
  const to = resolveLink(path, target);
  if (!existsSync(join(ROOT, to.path))) return `${path}: ${target}: no such file`;
  if (to.anchor === '') return null;
  if (!to.path.endsWith('.md')) return null;
  return anchorsOf(readSource(to.path)).has(to.anchor) ? null : `${path}: ${target}: no such heading`;
}

/** Pages that a reader reaches from `start`; a link to a folder shows what is in it. */
export function reachedFrom(start: string, pages: readonly string[]): ReadonlySet<string> {
  const reached = new Set([start]);
  for (const path of reached) {
    for (const target of linksOf(readSource(path))) {
      const to = resolveLink(path, target).path.replace(/\/$/, '');
      const folder = existsSync(join(ROOT, to)) && statSync(join(ROOT, to)).isDirectory();
      for (const page of pages) if (page === to || (folder && posix.dirname(page) === to)) reached.add(page);
    }
  }
  return reached;
}

/** Text between backticks in the prose. */
export function codeSpansOf(markdown: string): readonly string[] {
  return [...split(markdown).prose.matchAll(/(?<!`)`([^`\n]+)`(?!`)/g)].map(([, span = '']) => span);
}

/** Every `vllm-gateway …` that a reader may type, up to what a shell would take for something else. */
export function commandLinesOf(markdown: string): readonly string[] {
  const { fences } = split(markdown);
  const lines = fences
    .filter(({ language }) => /^(?:sh|bash|)$/.test(language))
    .flatMap(({ body }) => body.split('\n'));
  return [...codeSpansOf(markdown), ...lines].flatMap((text) => {
    const found = /(?:^|[\s(])(?:vllm-gateway|node dist\/src\/main\.js)((?: +[^\s|;&<>)#]+)+)/.exec(text);
    return found ? [`vllm-gateway${found[1]}`.trim()] : [];
  });
}

/** Why `line` would be refused; null when it would run. */
export function refusedCommand(program: Command, line: string): string | null {
  const [, name = '', ...words] = line.split(/ +/);
  if (name.startsWith('-')) return /^(?:--help|-h|--version|-V)$/.test(name) ? null : `${line}: no option ${name}`;
  if (/^[A-Z]+$/.test(name)) return null;
  const command = program.commands.find((each) => each.name() === name);
  if (command === undefined) return `${line}: no command ${name}`;
  let taken = 0;
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (word === '…') continue;
    if (!word.startsWith('-') || word === '-') taken += 1;
    else {
      const flag = word.split('=')[0];
      const option = command.options.find(({ short, long }) => short === flag || long === flag);
      if (option === undefined && flag !== '--help') return `${line}: no option ${word}`;
      if (option?.required === true && !word.includes('=')) at += 1;
    }
  }
  return taken > command.registeredArguments.length ? `${line}: too many arguments` : null;
}
