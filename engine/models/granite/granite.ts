/** Granite 3 (Granite Team 2024): LLaMA with multipliers of embeddings, scores, residuals and logits, layout `granite`. */
import { scaled } from '../decoder/blocks.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { rmsNorm } from '../decoder/norms.js';
import { readHeads, readSizes } from '../decoder/sizes.js';
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
  usualRoles,
} from '../decoder/usual.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 4096, depth: 32, heads: 32, vocabulary: 32000, context: 2048 };

export const granite = decoderFamily({
  modelType: 'granite',
  architectures: ['GraniteForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const factor = (key: string) => config.positive(key, 1);
    const norm = rmsNorm(config.positive('rms_norm_eps', 1e-6));
    const attention = usualAttention(heads, {
      bias: readAttentionBias(config),
      turn: turning(readRope(config, heads.headSize, sizes.positions)),
      mask: causal(),
      scale: factor('attention_multiplier'),
    });
    const perceptron = usualPerceptron(config, 11008, { bias: config.flag('mlp_bias', false) });
    const [embedding, residual, logits] = [
      factor('embedding_multiplier'),
      factor('residual_multiplier'),
      factor('logits_scaling'),
    ];
    const parts = usualParts(sizes, norm, readTied(config, false, options));
    return {
      ...parts,
      embedded: (_b, x) => scaled(x, embedding),
      block: () => preNormBlock(attention, perceptron, norm, usualRoles(attention), residual),
      head: { ...parts.head, after: (x) => scaled(x, 1 / logits) },
      turnedNorm: FINAL_NORM,
    };
  },
});
