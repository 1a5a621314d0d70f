/** Gemma (Gemma Team 2024): LLaMA with norms around 1, scaled embeddings and a tanh GELU in the gate, layout `gemma`. */
import { readActivation, tanhGelu, type Activation } from '../activations.js';
import type { ModelConfig } from '../config.js';
import { scaled } from '../decoder/blocks.js';
import { decoderFamily, readTied, type DecoderDesign, type Sublayer } from '../decoder/decoder.js';
import { rmsNorm, type Norm } from '../decoder/norms.js';
import { readHeads, readSizes, type HeadSizes, type SizeDefaults } from '../decoder/sizes.js';
import {
  causal,
  FINAL_NORM,
  preNormBlock,
  readAttentionBias,
  turning,
  USUAL_TENSORS,
  usualAttention,
  usualParts,
  usualPerceptron,
} from '../decoder/usual.js';
import type { BuildOptions } from '../family.js';
import { readRope } from '../rope.js';

export interface GemmaDefaults extends SizeDefaults {
  readonly keyHeads: number;
  readonly hidden: number;
}

/** What all generations have in common. */
export interface Gemma extends Pick<DecoderDesign, 'sizes' | 'table' | 'embedded' | 'prefix' | 'head'> {
  readonly heads: HeadSizes;
  /** Weights are stored around 0. */
  readonly norm: Norm;
  readonly perceptron: Sublayer;
}

export function readGemma(
  config: ModelConfig,
  defaults: GemmaDefaults,
  activation: Activation,
  options: BuildOptions,
): Gemma {
  if (config.has('use_bidirectional_attention') && config.flag('use_bidirectional_attention', false))
    config.fail(
      'use_bidirectional_attention',
      'is true: models whose tokens see those after them are not supported',
    );
  const sizes = readSizes(config, defaults, options);
  const norm = rmsNorm(config.positive('rms_norm_eps', 1e-6), 1);
  return {
    heads: readHeads(config, sizes.features, { ...defaults, headSize: 256 }),
    norm,
    perceptron: usualPerceptron(config, defaults.hidden, { activation }),
    ...usualParts(sizes, norm, readTied(config, true, options)),
    embedded: (_b, x) => scaled(x, Math.sqrt(sizes.features)),
  };
}

/** The first checkpoints say `gelu` and mean its approximation by tanh. */
function readGate(config: ModelConfig): Activation {
  const key = config.has('hidden_activation') ? 'hidden_activation' : 'hidden_act';
  return config.has(key) && config.text(key) === 'gelu'
    ? tanhGelu
    : readActivation(config, 'gelu_pytorch_tanh', key);
}

export const gemma = decoderFamily({
  modelType: 'gemma',
  architectures: ['GemmaForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const defaults = {
      ...{ features: 3072, depth: 28, heads: 16, keyHeads: 16 },
      ...{ hidden: 24576, vocabulary: 256000, context: 8192 },
    };
    const { heads, norm, perceptron, ...common } = readGemma(config, defaults, readGate(config), options);
    const turn = turning(readRope(config, heads.headSize, common.sizes.positions));
    const bias = readAttentionBias(config);
    return {
      ...common,
      block: () => preNormBlock(usualAttention(heads, { bias, turn, mask: causal() }), perceptron, norm),
      turnedNorm: FINAL_NORM,
    };
  },
});
