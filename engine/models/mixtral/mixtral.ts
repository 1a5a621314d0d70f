/** Mixtral (Jiang et al. 2024): Mistral with experts, of which each token is sent to two; Hugging Face layout `mixtral`. */
import { readActivation } from '../activations.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { EXPERT_LAYERS, expertRoles, experts, readChosen } from '../decoder/experts.js';
import { rmsNorm } from '../decoder/norms.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
import {
  causal,
  preNormBlock,
  turning,
  USUAL_TENSORS,
  usualAttention,
  usualParts,
  windowVariants,
} from '../decoder/usual.js';
import { readWindows } from '../decoder/windows.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 4096, depth: 32, heads: 32, keyHeads: 8, vocabulary: 32000, context: 131072 };

const namesOf = (expert: number) => {
  const prefix = `block_sparse_moe.experts.${expert}.`;
  return { gate: `${prefix}w1`, up: `${prefix}w3`, down: `${prefix}w2` };
};

export const mixtral = decoderFamily({
  modelType: 'mixtral',
  architectures: ['MixtralForCausalLM'],
  ...USUAL_TENSORS,
  layersAre: EXPERT_LAYERS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const turn = turning(readRope(config, heads.headSize, sizes.positions, { theta: 1_000_000 }));
    const windows = readWindows(config, sizes.depth, config.optionalSize('sliding_window'), () => true);
    const norm = rmsNorm(config.positive('rms_norm_eps', 1e-5));
    const perceptron = experts({
      router: 'block_sparse_moe.gate.weight',
      ...readChosen(config, { keys: ['num_local_experts', 'num_experts'], count: 8, chosen: 2 }),
      isNormal: true,
      names: namesOf,
      hidden: config.size('intermediate_size', 14336, MAX_FEATURES),
      activation: readActivation(config, 'silu'),
    });
    return {
      ...usualParts(sizes, norm, readTied(config, false, options)),
      variants: windowVariants(windows),
      block: (index) => {
        const attention = usualAttention(heads, { turn, mask: causal(windows[index]) });
        return preNormBlock(attention, perceptron, norm, expertRoles(attention));
      },
    };
  },
});
