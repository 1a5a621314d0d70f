/** Phi-1, 1.5 and 2 (Gunasekar et al. 2023): attention and perceptron in parallel, heads turned in part; layout `phi`. */
import { readActivation } from '../activations.js';
import { inParallel } from '../decoder/blocks.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { layerNorm, perHead } from '../decoder/norms.js';
import { plainPerceptron } from '../decoder/perceptrons.js';
import { fixedRoles, selfAttention, type SelfAttention } from '../decoder/self-attention.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
import { causal, turning, USUAL_TENSORS, usualAttention, usualParts } from '../decoder/usual.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 2048, depth: 24, heads: 32, vocabulary: 51200, context: 2048 };

const DOWN = { name: 'mlp.fc2', bias: true };

export const phi = decoderFamily({
  modelType: 'phi',
  architectures: ['PhiForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const norm = layerNorm(config.positive('layer_norm_eps', 1e-5));
    const attention: SelfAttention = {
      ...usualAttention(heads, {
        bias: { qkv: true },
        headNorm: config.flag('qk_layernorm', false) ? perHead(norm) : undefined,
        turn: turning(readRope(config, heads.headSize, sizes.positions, { share: 0.5 })),
        mask: causal(),
      }),
      headNorms: ['q_layernorm', 'k_layernorm'],
      output: { name: 'self_attn.dense', bias: true },
    };
    const perceptron = plainPerceptron({ name: 'mlp.fc1', bias: true }, DOWN, {
      hidden: config.size('intermediate_size', 8192, MAX_FEATURES),
      activation: readActivation(config, 'gelu_new'),
    });
    const parts = usualParts(sizes, norm, readTied(config, false, options));
    return {
      ...parts,
      block: () => ({
        forward: inParallel(
          { of: selfAttention(attention), norm, before: 'input_layernorm' },
          { of: perceptron, norm, before: 'input_layernorm' },
        ),
        roles: fixedRoles(attention, DOWN.name, 'self_attn.v_proj'),
      }),
      head: { ...parts.head, before: (b, x) => norm(b, 'model.final_layernorm', x), bias: true },
    };
  },
});
