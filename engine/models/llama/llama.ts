/** LLaMA 1 to 3 (Touvron et al. 2023), Hugging Face layout `llama`; other families are built from the same pieces. */
import { readActivation } from '../activations.js';
import { causalMask } from '../attention.js';
import type { ModelConfig } from '../config.js';
import { byLength } from '../constants.js';
import { inTurn } from '../decoder/blocks.js';
import { decoderFamily, readTied, refuseOthers, type BlockDesign } from '../decoder/decoder.js';
import { perHead, rmsNorm } from '../decoder/norms.js';
import { gatedPerceptron } from '../decoder/perceptrons.js';
import { apart, selfAttention } from '../decoder/self-attention.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
import type { Family } from '../family.js';
import type { DecoderLayout } from '../model.js';
import { readRope, rotation } from '../rope.js';

/** What sets a family apart. */
export type LlamaTraits = Pick<DecoderLayout, 'bias' | 'headNorms' | 'windows'>;

/** What the family's configurations have where their keys are missing. */
export interface LlamaDefaults {
  readonly hidden: number;
  readonly context: number;
  readonly vocabulary: number;
  /** Default as many as heads. */
  readonly keyHeads?: number;
  /** Default `features` over `heads`. */
  readonly headSize?: number;
}

/** The same in all families. */
const SIZES = { features: 4096, depth: 32, heads: 32 };

function refuseExperts(config: ModelConfig): void {
  for (const key of ['num_experts', 'num_local_experts', 'moe_intermediate_size'])
    if (config.has(key)) config.fail(key, 'is present: mixtures of experts are not supported');
}

/** A pre-norm block: causal attention, then a gated perceptron, each added to the stream. */
function llamaBlock(
  layout: DecoderLayout,
  turn: (tokens: number) => ReturnType<typeof rotation>,
  window: number | undefined,
): BlockDesign {
  const { hidden, activation, headSize, bias = {} } = layout;
  const norm = rmsNorm(layout.epsilon);
  const attention = selfAttention({
    ...layout,
    name: 'self_attn',
    project: apart(layout, (which) => `self_attn.${which}_proj`, bias.qkv ?? false),
    output: { name: 'self_attn.o_proj', bias: bias.output ?? false },
    headNorm: layout.headNorms ? perHead(norm) : undefined,
    turn,
    mask: byLength((length) => causalMask(length, window)),
  });
  const perceptron = gatedPerceptron(
    { gate: 'mlp.gate_proj', up: 'mlp.up_proj', down: 'mlp.down_proj' },
    { hidden, activation, bias: bias.mlp ?? false },
  );
  return {
    forward: inTurn(
      { of: attention, norm, before: 'input_layernorm' },
      { of: perceptron, norm, before: 'post_attention_layernorm' },
    ),
    roles: {
      writers: ['self_attn.o_proj', 'mlp.down_proj'],
      norms: ['input_layernorm', 'post_attention_layernorm'],
      attention: {
        size: headSize,
        queries: 'self_attn.q',
        keys: 'self_attn.k',
        values: 'self_attn.v',
        valueLayer: 'self_attn.v_proj',
        outputLayer: 'self_attn.o_proj',
      },
      gated: 'mlp.down_proj',
      gatedFactor: 'mlp.up_proj',
    },
  };
}

/** A family in LLaMA's layout. @param traits reads what sets it apart, for a model of `depth` layers */
export const llamaFamily = (
  modelType: string,
  architecture: string,
  defaults: LlamaDefaults,
  traits: (config: ModelConfig, depth: number) => LlamaTraits,
): Family =>
  decoderFamily({
    modelType,
    architectures: [architecture],
    otherNames,
    // Frequencies follow from the configuration, and are computed.
    ignores: /rotary_emb\.inv_freq$/,
    design: (config, options) => {
      refuseExperts(config);
      refuseOthers(config);
      const sizes = readSizes(config, { ...SIZES, ...defaults }, options);
      const { features, depth, context } = sizes;
      const heads = readHeads(config, features, { ...SIZES, ...defaults });
      const layout: DecoderLayout = {
        features,
        ...heads,
        hidden: config.size('intermediate_size', defaults.hidden, MAX_FEATURES),
        activation: readActivation(config, 'silu'),
        epsilon: config.positive('rms_norm_eps', 1e-6),
        rope: readRope(config, heads.headSize, context),
        tied: readTied(config, false, options),
        ...traits(config, depth),
      };
      const turn = byLength((length) => rotation(layout.rope, length));
      const windows = Array.from({ length: depth }, (_, index) => layout.windows?.[index]);
      const norm = rmsNorm(layout.epsilon);
      return {
        sizes,
        table: 'model.embed_tokens',
        prefix: (index) => `model.layers.${index}.`,
        variants: windows.map((window) => (window === undefined ? '' : `a window of ${window}`)),
        block: (index) => llamaBlock(layout, turn, windows[index]),
        head: {
          before: (b, x) => norm(b, 'model.norm', x),
          layer: 'lm_head',
          tied: layout.tied,
        },
        turnedNorm: 'model.norm',
        layout,
      };
    },
  });

/** A checkpoint of the model without its head has names without the prefix. */
const otherNames = (name: string): readonly string[] =>
  name.startsWith('model.') ? [name.slice('model.'.length)] : [];

export const llama = llamaFamily(
  'llama',
  'LlamaForCausalLM',
  { hidden: 11008, context: 2048, vocabulary: 32000 },
  (config) => {
    const attention = config.flag('attention_bias', false);
    return { bias: { qkv: attention, output: attention, mlp: config.flag('mlp_bias', false) } };
  },
);
