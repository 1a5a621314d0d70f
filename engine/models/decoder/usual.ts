/** What LLaMA and its kin have in common: names of tensors, and a block of attention and a gated perceptron. */
import { readActivation, type Activation } from '../activations.js';
import { causalMask } from '../attention.js';
import type { ModelConfig } from '../config.js';
import { byLength } from '../constants.js';
import type { Family } from '../family.js';
import type { Roles } from '../model.js';
import { rotation, type Rope } from '../rope.js';
import { inTurn } from './blocks.js';
import type { BlockDesign, DecoderDesign, Sublayer } from './decoder.js';
import type { Norm } from './norms.js';
import { gatedPerceptron } from './perceptrons.js';
import { apart, attentionRoles, selfAttention, type SelfAttention } from './self-attention.js';
import { MAX_FEATURES, type DecoderSizes, type HeadSizes } from './sizes.js';
import type { Windows } from './windows.js';

/** Of the norm before the head. */
export const FINAL_NORM = 'model.norm';
const GATED = { gate: 'mlp.gate_proj', up: 'mlp.up_proj', down: 'mlp.down_proj' };

/** Other names of a tensor: a checkpoint of the model without its head has them without the prefix. */
export const withoutPrefix =
  (prefix: string): NonNullable<Family['otherNames']> =>
  (name) =>
    name.startsWith(prefix) ? [name.slice(prefix.length)] : [];

/** What all such families say of the tensors of a checkpoint. Frequencies follow from the configuration, and are computed. */
export const USUAL_TENSORS = {
  otherNames: withoutPrefix('model.'),
  ignores: /rotary_emb\.inv_freq$/,
} satisfies Pick<Family, 'otherNames' | 'ignores'>;

/** Embeddings, blocks and a head behind a norm. */
export const usualParts = (
  sizes: DecoderSizes,
  norm: Norm,
  tied: boolean,
): Pick<DecoderDesign, 'sizes' | 'table' | 'prefix' | 'head'> => ({
  sizes,
  table: 'model.embed_tokens',
  prefix: (block) => `model.layers.${block}.`,
  head: { before: (b, x) => norm(b, FINAL_NORM, x), layer: 'lm_head', tied },
});

/** A gated perceptron. @param hidden its channels where `intermediate_size` is missing */
export const usualPerceptron = (
  config: ModelConfig,
  hidden: number,
  {
    activation = readActivation(config, 'silu'),
    bias = false,
  }: { activation?: Activation; bias?: boolean } = {},
): Sublayer =>
  gatedPerceptron(GATED, {
    hidden: config.size('intermediate_size', hidden, MAX_FEATURES),
    activation,
    bias,
  });

/** By the length of samples, what turns heads. */
export const turning = (rope: Rope): NonNullable<SelfAttention['turn']> =>
  byLength((length) => rotation(rope, length));

/** By the length of samples, the mask of a causal model. */
export const causal = (window?: number): SelfAttention['mask'] =>
  byLength((length) => causalMask(length, window));

/** What sets blocks of different windows apart. */
export const windowVariants = (windows: Windows): readonly string[] =>
  windows.map((window) => (window === undefined ? '' : `a window of ${window}`));

export interface AttentionBias {
  readonly qkv?: boolean;
  readonly output?: boolean;
}

/** The biases that `attention_bias` switches. */
export function readAttentionBias(config: ModelConfig): Required<AttentionBias> {
  const bias = config.flag('attention_bias', false);
  return { qkv: bias, output: bias };
}

/** Attention with layers for queries, keys, values and output. */
export const usualAttention = (
  { heads, keyHeads, headSize }: HeadSizes,
  options: Pick<SelfAttention, 'headNorm' | 'turn' | 'mask' | 'window' | 'scale' | 'cap'> & {
    readonly bias?: AttentionBias;
  },
): SelfAttention => {
  const { bias = {}, ...others } = options;
  return {
    ...{ heads, keyHeads, headSize },
    name: 'self_attn',
    project: apart({ heads, keyHeads, headSize }, (which) => `self_attn.${which}_proj`, bias.qkv ?? false),
    output: { name: 'self_attn.o_proj', bias: bias.output ?? false },
    ...others,
  };
};

/** Of a block of such attention and a gated perceptron. @param norms those of the stream, where it can be turned */
export const usualRoles = (attention: SelfAttention, norms: readonly string[] = PRE_NORMS): Roles => ({
  writers: [attention.output.name, GATED.down],
  norms,
  attention: attentionRoles(attention, 'self_attn.v_proj'),
  gated: GATED.down,
  gatedFactor: GATED.up,
});

const PRE_NORMS = ['input_layernorm', 'post_attention_layernorm'] as const;

/** A pre-norm block: attention, then a perceptron, each added to the stream. @param factor on what is added */
export const preNormBlock = (
  attention: SelfAttention,
  perceptron: Sublayer,
  norm: Norm,
  roles: Roles = usualRoles(attention),
  factor = 1,
): BlockDesign => ({
  forward: inTurn(
    { of: selfAttention(attention), norm, before: PRE_NORMS[0], factor },
    { of: perceptron, norm, before: PRE_NORMS[1], factor },
  ),
  roles,
});
