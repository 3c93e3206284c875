/** The fields of the model that generates text: at the top of config.json or below a name, with the defaults of its class. */
import { familyDefaults } from './families.ts';
import { fieldOf, listAt, objectAt, textAt, type JsonObject } from './json.ts';

export interface TextConfig {
  readonly fields: JsonObject;
  readonly modelType: string;
  readonly architecture: string;
  readonly notes: readonly string[];
}

const NESTED = ['text_config', 'llm_config', 'language_config'];
/** Said once for the whole model where the text model does not say it. */
const INHERITED = ['torch_dtype', 'dtype', 'tie_word_embeddings', 'quantization_config', 'is_encoder_decoder'];
/** A default for these is worth a note: the size follows from them. */
const PATTERNS = ['sliding_window_pattern', 'full_attention_interval', 'attn_layer_period'];
const NOTED = [
  ...['num_hidden_layers', 'num_attention_heads', 'num_key_value_heads', 'head_dim', 'max_position_embeddings'],
  ...['multi_query', ...PATTERNS],
];

export function textConfigOf(config: JsonObject): TextConfig {
  const nested = nestedConfig(config);
  const own = nested === null ? config : { ...inherited(config), ...nested };
  const modelType = textAt(own, 'model_type') ?? textAt(config, 'model_type') ?? '';
  const defaults = familyDefaults(modelType);
  const said = (name: string): boolean => fieldOf(own, name) !== undefined;
  const layersNamed = said('layer_types') || said('_sliding_window_pattern');
  const missing = NOTED.filter(
    (name) => Object.hasOwn(defaults, name) && !said(name) && !(layersNamed && PATTERNS.includes(name)),
  );
  const architecture = listAt(config, 'architectures')?.[0] ?? listAt(own, 'architectures')?.[0];
  return {
    fields: { ...defaults, ...own },
    modelType,
    architecture: typeof architecture === 'string' ? architecture : '',
    notes:
      missing.length === 0 ? [] : [`config.json leaves out ${missing.join(', ')}: the defaults of ${modelType} apply`],
  };
}

function nestedConfig(config: JsonObject): JsonObject | null {
  const thinker = objectAt(config, 'thinker_config');
  for (const from of thinker === null ? [config] : [thinker, config]) {
    for (const name of NESTED) {
      const found = objectAt(from, name);
      if (found !== null && Object.keys(found).length > 0) return found;
    }
  }
  return thinker;
}

function inherited(config: JsonObject): JsonObject {
  return Object.fromEntries(
    INHERITED.filter((name) => Object.hasOwn(config, name)).map((name) => [name, config[name]]),
  );
}
