/** Phi-3 and Phi-4-mini (Abdin et al. 2024): LLaMA with one layer for queries, keys and values and one for gate and up, layout `phi3`. */
import { readActivation } from '../activations.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { rmsNorm } from '../decoder/norms.js';
import { fusedPerceptron } from '../decoder/perceptrons.js';
import { attentionRoles, fused, type SelfAttention } from '../decoder/self-attention.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
import {
  causal,
  FINAL_NORM,
  preNormBlock,
  turning,
  USUAL_TENSORS,
  usualParts,
  windowVariants,
} from '../decoder/usual.js';
import { readWindows } from '../decoder/windows.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 3072, depth: 32, heads: 32, vocabulary: 32064, context: 4096 };

const DOWN = { name: 'mlp.down_proj', bias: false };

export const phi3 = decoderFamily({
  modelType: 'phi3',
  architectures: ['Phi3ForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const turn = turning(readRope(config, heads.headSize, sizes.positions, { share: 1 }));
    const windows = readWindows(config, sizes.depth, config.optionalSize('sliding_window'), () => true);
    const norm = rmsNorm(config.positive('rms_norm_eps', 1e-5));
    const perceptron = fusedPerceptron({ name: 'mlp.gate_up_proj', bias: false }, DOWN, {
      hidden: config.size('intermediate_size', 8192, MAX_FEATURES),
      activation: readActivation(config, 'silu'),
    });
    return {
      ...usualParts(sizes, norm, readTied(config, false, options)),
      variants: windowVariants(windows),
      block: (index) => {
        const attention: SelfAttention = {
          ...heads,
          name: 'self_attn',
          project: fused(heads, { name: 'self_attn.qkv_proj', bias: false }, 1),
          output: { name: 'self_attn.o_proj', bias: false },
          turn,
          mask: causal(windows[index]),
        };
        return preNormBlock(attention, perceptron, norm, {
          writers: [attention.output.name, DOWN.name],
          norms: ['input_layernorm', 'post_attention_layernorm'],
          attention: attentionRoles(attention),
          gated: DOWN.name,
        });
      },
      turnedNorm: FINAL_NORM,
    };
  },
});
