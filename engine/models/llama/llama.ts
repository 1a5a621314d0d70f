/** LLaMA 1 to 3 (Touvron et al. 2023), Hugging Face layout `llama`; its nearest kin are variants of it. */
import { readActivation } from '../activations.js';
import type { ModelConfig } from '../config.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { perHead, rmsNorm } from '../decoder/norms.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
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
  windowVariants,
} from '../decoder/usual.js';
import type { Family } from '../family.js';
import type { DecoderLayout } from '../model.js';
import { readRope } from '../rope.js';

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
    ...USUAL_TENSORS,
    design: (config, options) => {
      refuseExperts(config);
      const sizes = readSizes(config, { ...SIZES, ...defaults }, options);
      const { features, depth, positions } = sizes;
      const heads = readHeads(config, features, { ...SIZES, ...defaults });
      const layout: DecoderLayout = {
        features,
        ...heads,
        hidden: config.size('intermediate_size', defaults.hidden, MAX_FEATURES),
        activation: readActivation(config, 'silu'),
        epsilon: config.positive('rms_norm_eps', 1e-6),
        rope: readRope(config, heads.headSize, positions),
        tied: readTied(config, false, options),
        ...traits(config, depth),
      };
      const { bias = {} } = layout;
      const windows = Array.from({ length: depth }, (_, index) => layout.windows?.[index]);
      const norm = rmsNorm(layout.epsilon);
      const turn = turning(layout.rope);
      const perceptron = usualPerceptron(config, defaults.hidden, {
        activation: layout.activation,
        bias: bias.mlp ?? false,
      });
      return {
        ...usualParts(sizes, norm, layout.tied),
        variants: windowVariants(windows),
        block: (index) => {
          const headNorm = layout.headNorms ? perHead(norm) : undefined;
          return preNormBlock(
            usualAttention(heads, {
              bias,
              headNorm,
              turn,
              mask: causal(windows[index]),
              window: windows[index],
            }),
            perceptron,
            norm,
          );
        },
        turnedNorm: FINAL_NORM,
        layout,
        // Turns that change with the length of a text leave nothing to keep.
        ...(!layout.rope.beyond && { keeps: layout.rope }),
      };
    },
  });

export const llama = llamaFamily(
  'llama',
  'LlamaForCausalLM',
  { hidden: 11008, context: 2048, vocabulary: 32000 },
  (config) => ({ bias: { ...readAttentionBias(config), mlp: config.flag('mlp_bias', false) } }),
);
