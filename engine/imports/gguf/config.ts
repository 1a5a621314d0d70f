/** The configuration of a model, from what a GGUF file says of it. */
import { UserError } from '../../errors.js';
import type { GgufHeader } from '../../formats/gguf/header.js';
import { DIVISORS } from '../../formats/gguf/names.js';
import type { JsonObject } from '../../formats/json.js';
import { show } from '../../formats/paths.js';

/** llama.cpp's architectures that are read: the class of the model, and whether neighbouring channels are turned together. */
export const ARCHITECTURES: Readonly<
  Record<string, { readonly model: string; readonly turnsNeighbours: boolean }>
> = {
  llama: { model: 'LlamaForCausalLM', turnsNeighbours: true },
  qwen2: { model: 'Qwen2ForCausalLM', turnsNeighbours: false },
  qwen3: { model: 'Qwen3ForCausalLM', turnsNeighbours: false },
};

/** What Llama 3 and later say of their positions; the factor is the file's. */
const LLAMA3 = { rope_type: 'llama3', low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 }; // prettier-ignore

/**
 * `config.json`. @param divisors of the frequencies of positions, where the file has some
 * Throws UserError, beginning with `where`, for what no supported configuration says.
 */
export function configOf(
  header: GgufHeader,
  divisors: Float32Array | undefined,
  dtype: string,
  where: string,
): JsonObject {
  const { architecture, tensors } = header;
  const known = ARCHITECTURES[architecture];
  if (!known)
    throw new UserError(
      `${where}: is of the architecture ${show(architecture)}; those read are ${Object.keys(ARCHITECTURES).join(', ')}.`,
    );
  const has = (name: string) => tensors.has(name);
  const own = (key: string) => header.number(`${architecture}.${key}`);
  const needed = (key: string) => {
    const value = own(key);
    if (value === undefined) throw new UserError(`${where}: does not say "${architecture}.${key}".`);
    return value;
  };
  if ((own('expert_count') ?? 0) > 0)
    throw new UserError(`${where}: is a mixture of experts, which is not read as GGUF yet.`);
  const [features, heads] = [needed('embedding_length'), needed('attention.head_count')];
  const headSize = own('attention.key_length') ?? features / heads;
  const turned = own('rope.dimension_count') ?? headSize;
  if (turned !== headSize)
    throw new UserError(
      `${where}: turns ${turned} of ${headSize} channels of a head, which no model of it does.`,
    );
  const context = needed('context_length');
  const window = own('attention.sliding_window') ?? 0;
  if (window > 0 && window < context)
    throw new UserError(
      `${where}: attends within windows of ${window} tokens, which is not read as GGUF yet.`,
    );
  const vocabulary = tensors.get('token_embd.weight')?.shape[0];
  if (vocabulary === undefined) throw new UserError(`${where}: the tensor "token_embd.weight" is missing.`);
  const scaling = scalingOf(header, divisors, where);
  const isLlama = architecture === 'llama';
  const id = (name: string) => header.number(`tokenizer.ggml.${name}_token_id`);
  const named = { bos_token_id: id('bos'), eos_token_id: id('eos') };
  return {
    architectures: [known.model],
    model_type: architecture,
    vocab_size: vocabulary,
    hidden_size: features,
    intermediate_size: needed('feed_forward_length'),
    num_hidden_layers: needed('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: own('attention.head_count_kv') ?? heads,
    head_dim: headSize,
    hidden_act: 'silu',
    max_position_embeddings: context,
    rms_norm_eps: shortest(needed('attention.layer_norm_rms_epsilon')),
    rope_theta: shortest(own('rope.freq_base') ?? 10_000),
    ...(scaling && { rope_scaling: scaling }),
    ...(isLlama && {
      attention_bias: has('blk.0.attn_q.bias'),
      mlp_bias: has('blk.0.ffn_gate.bias'),
    }),
    tie_word_embeddings: !has('output.weight'),
    torch_dtype: dtype,
    ...Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined)),
  };
}

/** The decimal with the fewest digits that is the same float32: 1e-5, where the file has 9.99999974e-6. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === Math.fround(value)) return decimal;
  }
  return value;
}

function scalingOf(
  header: GgufHeader,
  divisors: Float32Array | undefined,
  where: string,
): JsonObject | undefined {
  const key = `${header.architecture}.rope.scaling`;
  const type = header.text(`${key}.type`) ?? 'none';
  const factor = header.number(`${key}.factor`);
  if (type === 'linear' && factor !== undefined && !divisors)
    return { rope_type: 'linear', factor: shortest(factor) };
  if (type !== 'none' && type !== 'linear')
    throw new UserError(`${where}: scales positions by ${show(type, 40)}, which is not read as GGUF yet.`);
  if (!divisors) return undefined;
  return { ...LLAMA3, factor: shortest(Math.max(...divisors)) };
}

/** Throws UserError where the frequencies that a configuration comes to are not those of the file. */
export function requireDivisors(
  divisors: Float32Array,
  { theta, frequencies }: { readonly theta: number; readonly frequencies: readonly number[] },
  where: string,
): void {
  const isSame =
    divisors.length === frequencies.length &&
    frequencies.every((f, i) => Math.abs(theta ** (-i / frequencies.length) / f / divisors[i]! - 1) < 1e-4);
  if (!isSame)
    throw new UserError(
      `${where}: "${DIVISORS}" stretches positions in a way that no configuration of ${LLAMA3.rope_type} says.`,
    );
}
