/** Random configurations of language models in LLaMA's layout. */
import type { CheckpointCase, Stored } from '../checkpoints.peers.js';
import type { Draw } from '../suite.js';
import { ACTIVATIONS } from './activations.js';

type Config = Record<string, unknown>;

const ARCHITECTURES = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
} as const;
type FamilyName = keyof typeof ARCHITECTURES;

export function drawText(draw: Draw): Omit<CheckpointCase, 'seed'> {
  const { pick, whole, chance } = draw;
  const family = pick(Object.keys(ARCHITECTURES) as FamilyName[]);
  const depth = whole(1, 3);
  const context = whole(8, 96);
  const tied = pick([true, false, undefined]);
  const windows = drawWindows(draw, family, depth);
  const config: Config = {
    model_type: family,
    ...(chance(0.9) && { architectures: [ARCHITECTURES[family]] }),
    num_hidden_layers: depth,
    intermediate_size: whole(4, 40),
    vocab_size: whole(5, 60),
    ...(chance(0.9) && { max_position_embeddings: context }),
    rms_norm_eps: pick([1e-3, 1e-5, 1e-6, 1e-8]),
    ...(chance() && { hidden_act: chance(0.3) ? pick(ACTIVATIONS) : pick(['silu', 'silu', 'swish']) }),
    ...(tied !== undefined && { tie_word_embeddings: tied }),
    ...drawBiases(draw, family),
    ...windows,
    // The reference derives no size of heads for a Mistral with types of layers.
    ...drawHeads(draw, family, family === 'mistral' && 'layer_types' in windows),
    ...drawRope(draw, context),
    ...(chance(0.1) && { is_causal: true }),
    ...(chance(0.1) && { quantization_config: null }),
  };
  return {
    config,
    stored: drawStored(draw, tied === true),
    batch: whole(1, 2),
    tokens: whole(1, context),
  };
}

function drawHeads({ pick, whole, chance }: Draw, family: FamilyName, hasSize: boolean): Config {
  // As many as the family has where nothing is said, so that nothing need be said.
  const usual = { llama: 4, mistral: 8, qwen2: 32, qwen3: 32 }[family];
  const isUsual = chance(0.2);
  const heads = isUsual ? usual : pick([1, 2, 3, 4, 6, 8]);
  const size = 2 * (heads > 8 ? whole(1, 3) : whole(2, 8));
  const divisors = [1, 2, 3, 4, 6, 8].filter((n) => heads % n === 0);
  const keyHeads = isUsual
    ? {}
    : { num_key_value_heads: family !== 'mistral' && chance(0.1) ? null : pick(divisors) };
  const isPlain = family !== 'qwen3' && !hasSize && chance(0.7);
  return {
    num_attention_heads: heads,
    ...keyHeads,
    hidden_size: isPlain ? heads * size : heads * whole(1, 6),
    ...(!isPlain && (family !== 'qwen3' || heads > 8 || chance(0.9)) && { head_dim: size }),
  };
}

function drawBiases({ chance }: Draw, family: FamilyName): Config {
  return {
    ...((family === 'llama' || family === 'qwen3') && chance() && { attention_bias: chance() }),
    ...(family === 'llama' && chance() && { mlp_bias: chance() }),
  };
}

function drawWindows({ pick, whole, chance }: Draw, family: FamilyName, depth: number): Config {
  if (family === 'llama') return {};
  const window = whole(1, 24);
  const kinds = Array.from({ length: depth }, () => pick(['full_attention', 'sliding_attention']));
  const types = chance(0.3) ? { layer_types: kinds } : {};
  if (family === 'mistral')
    return {
      sliding_window: 'layer_types' in types ? window : pick([null, window, window]),
      ...types,
    };
  const isOn = chance();
  return {
    ...(isOn && { use_sliding_window: true, sliding_window: window, max_window_layers: whole(0, depth) }),
    ...(!isOn && chance() && { use_sliding_window: false, sliding_window: window }),
    ...(isOn && types),
  };
}

function drawRope(draw: Draw, context: number): Config {
  const { pick, chance } = draw;
  const theta = pick([undefined, 10, 100, 10_000, 10_000, 1_000_000]);
  const top = theta === undefined ? {} : { rope_theta: theta };
  const section = drawSection(draw, context);
  switch (pick(['none', 'none', 'empty', 'older', 'older', 'newer', 'newer', 'both', 'top', 'top'])) {
    case 'none':
      return { ...top, ...(chance() && { rope_scaling: null }) };
    case 'empty':
      return { ...top, rope_scaling: {} };
    case 'older':
      return { ...top, rope_scaling: { ...section, ...(chance(0.2) && { rope_theta: 33 }) } };
    case 'newer':
      return { rope_parameters: { ...section, ...top }, ...(chance(0.2) && { rope_theta: 77 }) };
    case 'both':
      return {
        ...(chance() && top),
        rope_scaling: section,
        rope_parameters: { rope_type: 'default', ...top },
      };
    default:
      return { ...top, rope_scaling: section, original_max_position_embeddings: 11 };
  }
}

function drawSection(draw: Draw, context: number): Config {
  const { pick, whole, chance } = draw;
  const type = pick(['default', 'linear', 'dynamic', 'llama3', 'yarn', 'yarn']);
  const original = chance(0.8) ? { original_max_position_embeddings: whole(4, context) } : {};
  const named = {
    [pick(['rope_type', 'type'])]: type,
    ...(chance(0.1) && { rope_type: type, type: 'linear' }),
  };
  const factor = { factor: pick([1, 1.5, 4, 8]) };
  switch (type) {
    case 'default':
      return named;
    case 'llama3':
      return {
        ...{ ...named, ...factor, ...original },
        low_freq_factor: pick([0.5, 1]),
        high_freq_factor: pick([2, 4]),
      };
    case 'yarn':
      return {
        ...named,
        ...(chance(0.1) ? { factor: null } : factor),
        ...original,
        ...(chance() && { beta_fast: pick([2, 4, 32]), beta_slow: pick([0.5, 1]) }),
        ...(chance(0.3) && { attention_factor: pick([0.7, 1.3]) }),
        ...(chance(0.3) && { mscale: pick([0.7, 1]), ...(chance() && { mscale_all_dim: pick([0.5, 1]) }) }),
        ...(chance(0.4) && { truncate: chance() }),
      };
    default:
      return { ...named, ...factor };
  }
}

function drawStored({ pick, whole, chance }: Draw, isTied: boolean): Stored {
  return {
    dtype: pick(['F32', 'F32', 'F16', 'BF16', 'F64']),
    shards: chance(0.7) ? 1 : whole(2, 3),
    indexed: chance(0.2),
    names: chance(0.15) ? 'bare' : 'usual',
    ...(isTied && { head: pick(['table', 'table', 'head', 'equal', 'other'] as const) }),
    ...(chance(0.1) && { spare: pick(['float8_e4m3fn', 'uint16', 'int64', 'bool']) }),
  };
}
