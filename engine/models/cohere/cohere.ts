/** Command R (Cohere 2024): attention and perceptron in parallel behind a norm without bias, turned neighbours; layout `cohere`. */
import { inParallel, scaled } from '../decoder/blocks.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { layerNorm, ownPerHead } from '../decoder/norms.js';
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

const DEFAULTS = { features: 8192, depth: 40, heads: 64, vocabulary: 256000, context: 8192 };

export const cohere = decoderFamily({
  modelType: 'cohere',
  architectures: ['CohereForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const epsilon = config.positive('layer_norm_eps', 1e-5);
    const norm = layerNorm(epsilon, { bias: false });
    const rope = readRope(config, heads.headSize, sizes.positions, { theta: 500_000, neighbours: true });
    const attention = usualAttention(heads, {
      bias: readAttentionBias(config),
      headNorm: config.flag('use_qk_norm', false) ? ownPerHead(epsilon) : undefined,
      turn: turning(rope),
      mask: causal(),
    });
    const perceptron = usualPerceptron(config, 22528);
    const scale = config.positive('logit_scale', 0.0625);
    const parts = usualParts(sizes, norm, readTied(config, true, options));
    return {
      ...parts,
      block: () => ({
        forward: inParallel(
          { of: selfAttention(attention), norm, before: 'input_layernorm' },
          { of: perceptron, norm, before: 'input_layernorm' },
        ),
        roles: usualRoles(attention, []),
      }),
      head: { ...parts.head, after: (logits) => scaled(logits, scale) },
    };
  },
});
