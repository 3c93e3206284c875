/** What a repo key names. */

/** Quantisation names of GGUF files: `Q4_K_M`, `IQ2_XXS`, `UD-Q4_K_XL`, `BF16`, `MXFP4`. */
const QUANT = /^(?:UD-)?(?:I?Q\d\w*|T?Q\d_\d|F16|F32|BF16|MXFP4\w*)$/i;

/** `org/name:QUANT`, a `.gguf` file of this machine, of a repo, or at an address. A name that merely says "gguf" is none. */
export function ggufRepo(repo: string): boolean {
  if (/\.gguf$/i.test(repo)) return true;
  const colon = repo.lastIndexOf(':');
  return colon > repo.indexOf('/') && QUANT.test(repo.slice(colon + 1));
}

/** A file rather than a name of the hub. */
export function isFile(repo: string): boolean {
  return /\.gguf$/i.test(repo);
}

/** A path of this machine or an address of another store: nothing that the hub has. */
export function isElsewhere(repo: string): boolean {
  return /^(?:[/~]|\.{1,2}(?:\/|$))/.test(repo) || /^[a-z][a-z0-9+.-]*:\/\//i.test(repo);
}
