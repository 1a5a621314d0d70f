/** OLMo 2 (OLMo Team 2025): norms behind attention and perceptron, and of queries and keys across heads; layout `olmo2`. */
import { inTurn } from '../decoder/blocks.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { acrossHeads, rmsNorm } from '../decoder/norms.js';
import { selfAttention } from '../decoder/self-attention.js';
import { readHeads, readSizes } from '../decoder/sizes.js';
import {
  causal,
  readAttentionBias,
  turning,
  USUAL_TENSORS,
  usualAttention,
  usualParts,
  usualPerceptron,
  usualRoles,
} from '../decoder/usual.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 4096, depth: 32, heads: 32, vocabulary: 50304, context: 2048 };

export const olmo2 = decoderFamily({
  modelType: 'olmo2',
  architectures: ['Olmo2ForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const norm = rmsNorm(config.positive('rms_norm_eps', 1e-5));
    const attention = usualAttention(heads, {
      bias: readAttentionBias(config),
      headNorm: acrossHeads(norm),
      turn: turning(readRope(config, heads.headSize, sizes.positions)),
      mask: causal(),
    });
    const perceptron = usualPerceptron(config, 11008);
    return {
      ...usualParts(sizes, norm, readTied(config, false, options)),
      block: () => ({
        forward: inTurn(
          { of: selfAttention(attention), norm, after: 'post_attention_layernorm' },
          { of: perceptron, norm, after: 'post_feedforward_layernorm' },
        ),
        roles: usualRoles(attention, []),
      }),
    };
  },
});
