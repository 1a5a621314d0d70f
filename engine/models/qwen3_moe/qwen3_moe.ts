/** Qwen 3's mixtures of experts (Yang et al. 2025): Qwen 3 with experts in some layers, Hugging Face layout `qwen3_moe`. */
import { readActivation } from '../activations.js';
import type { ModelConfig } from '../config.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { EXPERT_LAYERS, expertRoles, experts, readChosen } from '../decoder/experts.js';
import { perHead, rmsNorm } from '../decoder/norms.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
import {
  causal,
  preNormBlock,
  readAttentionBias,
  turning,
  USUAL_TENSORS,
  usualAttention,
  usualParts,
  usualPerceptron,
} from '../decoder/usual.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 2048, depth: 24, heads: 32, keyHeads: 4, vocabulary: 151936, context: 32768 };

const namesOf = (expert: number) => {
  const prefix = `mlp.experts.${expert}.`;
  return { gate: `${prefix}gate_proj`, up: `${prefix}up_proj`, down: `${prefix}down_proj` };
};

/** By layer, whether it has experts. */
function readSparse(config: ModelConfig, depth: number): readonly boolean[] {
  const dense = config.counts('mlp_only_layers');
  const step = config.size('decoder_sparse_step', 1);
  return Array.from({ length: depth }, (_, layer) => !dense.includes(layer) && (layer + 1) % step === 0);
}

export const qwen3Moe = decoderFamily({
  modelType: 'qwen3_moe',
  architectures: ['Qwen3MoeForCausalLM'],
  ...USUAL_TENSORS,
  layersAre: EXPERT_LAYERS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const isOn = config.flag('use_sliding_window', false);
    const window = isOn ? config.optionalSize('sliding_window', 4096) : undefined;
    const norm = rmsNorm(config.positive('rms_norm_eps', 1e-6));
    const attention = usualAttention(heads, {
      bias: readAttentionBias(config),
      headNorm: perHead(norm),
      turn: turning(readRope(config, heads.headSize, sizes.positions)),
      mask: causal(window),
    });
    const activation = readActivation(config, 'silu');
    const dense = usualPerceptron(config, 6144, { activation });
    const sparse = experts({
      router: 'mlp.gate.weight',
      ...readChosen(config, { keys: ['num_experts', 'num_local_experts'], count: 128, chosen: 8 }),
      isNormal: config.flag('norm_topk_prob', false),
      names: namesOf,
      hidden: config.size('moe_intermediate_size', 768, MAX_FEATURES),
      activation,
    });
    const isSparse = readSparse(config, sizes.depth);
    return {
      ...usualParts(sizes, norm, readTied(config, false, options)),
      variants: isSparse.map((is) => (is ? 'experts' : '')),
      block: (index) =>
        preNormBlock(attention, isSparse[index] ? sparse : dense, norm, expertRoles(attention)),
    };
  },
});
