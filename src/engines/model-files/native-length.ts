/** The context length that a model was made for, as its engine derives it. */
import { asCount, asObject, countAt, fieldOf, numberAt, textAt } from './json.ts';
import type { TextConfig } from './text-config.ts';

const NAMES = [
  ...['max_position_embeddings', 'n_positions', 'max_seq_len', 'seq_length', 'model_max_length'],
  ...['max_sequence_length', 'max_seq_length', 'seq_len', 'max_target_positions', 'n_ctx'],
];
/** Their lengths already count the scaling in. */
const ALREADY_SCALED = ['default', 'su', 'longrope', 'llama3', 'mrope'];

/** Tokens; null = its files do not say. */
export function nativeLength({ fields, modelType }: TextConfig): number | null {
  const lengths = NAMES.map((name) => countAt(fields, name)).filter((length) => length !== null);
  if (lengths.length === 0) return null;
  const stated = Math.min(...lengths);
  const scaling = asObject(fieldOf(fields, 'rope_scaling')) ?? asObject(fieldOf(fields, 'rope_parameters'));
  if (scaling === null || modelType.startsWith('gemma')) return stated;
  const type = textAt(scaling, 'rope_type') ?? textAt(scaling, 'type') ?? 'default';
  const factor = numberAt(scaling, 'factor');
  if (ALREADY_SCALED.includes(type) || factor === null || factor <= 1) return stated;
  const base = type === 'yarn' ? countAt(scaling, 'original_max_position_embeddings') : stated;
  return (base === null ? null : asCount(Math.floor(base * factor))) ?? stated;
}
