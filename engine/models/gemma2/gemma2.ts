/**
 * Gemma 2 (Gemma Team 2024): norms before and after each sublayer, bounded scores and logits, and every other layer with a window;
 * Hugging Face layout `gemma2`.
 */
import { capped } from '../attention.js';
import { readActivation } from '../activations.js';
import type { ModelConfig } from '../config.js';
import { inTurn } from '../decoder/blocks.js';
import { decoderFamily, type BlockDesign, type DecoderDesign } from '../decoder/decoder.js';
import { selfAttention, type SelfAttention } from '../decoder/self-attention.js';
import {
  causal,
  readAttentionBias,
  turning,
  USUAL_TENSORS,
  usualAttention,
  usualRoles,
  windowVariants,
} from '../decoder/usual.js';
import { readWindows } from '../decoder/windows.js';
import { readGemma, type Gemma, type GemmaDefaults } from '../gemma/gemma.js';
import { readRope } from '../rope.js';

export const GEMMA2_DEFAULTS: GemmaDefaults = {
  features: 2304,
  depth: 26,
  heads: 8,
  keyHeads: 4,
  hidden: 9216,
  vocabulary: 256000,
  context: 8192,
};

/** Attention and perceptron, each between two norms and then added to the stream. */
export const sandwichBlock = (attention: SelfAttention, { perceptron, norm }: Gemma): BlockDesign => ({
  forward: inTurn(
    {
      of: selfAttention(attention),
      norm,
      before: 'input_layernorm',
      after: 'post_attention_layernorm',
    },
    { of: perceptron, norm, before: 'pre_feedforward_layernorm', after: 'post_feedforward_layernorm' },
  ),
  roles: usualRoles(attention, []),
});

/** What scores are multiplied by, and what they and logits stay below. @param caps where the configuration says nothing */
export function readScores(
  config: ModelConfig,
  caps: { readonly scores?: number; readonly logits?: number } = {},
) {
  const cap = config.optionalAmount('attn_logit_softcapping', caps.scores);
  return {
    scores: {
      scale: 1 / Math.sqrt(config.positive('query_pre_attn_scalar', 256)),
      ...(cap !== undefined && { cap }),
    },
    mostLogit: config.optionalAmount('final_logit_softcapping', caps.logits),
  };
}

export const boundedHead = (head: DecoderDesign['head'], most: number | undefined): DecoderDesign['head'] =>
  most === undefined ? head : { ...head, after: (logits) => capped(logits, most) };

export const gemma2 = decoderFamily({
  modelType: 'gemma2',
  architectures: ['Gemma2ForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const activation = readActivation(config, 'gelu_pytorch_tanh', 'hidden_activation');
    const common = readGemma(config, GEMMA2_DEFAULTS, activation, options);
    const { sizes, heads } = common;
    const turn = turning(readRope(config, heads.headSize, sizes.positions));
    const window = config.optionalSize('sliding_window', 4096);
    const windows = readWindows(config, sizes.depth, window, (layer) => layer % 2 === 0);
    const { scores, mostLogit } = readScores(config, { scores: 50, logits: 30 });
    const bias = readAttentionBias(config);
    return {
      ...common,
      variants: windowVariants(windows),
      block: (index) =>
        sandwichBlock(usualAttention(heads, { ...scores, bias, turn, mask: causal(windows[index]) }), common),
      head: boundedHead(common.head, mostLogit),
    };
  },
});
