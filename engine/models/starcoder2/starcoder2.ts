/** StarCoder 2 (Lozhkov et al. 2024): LayerNorms, biases and a perceptron of two layers, layout `starcoder2`. */
import { readActivation } from '../activations.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { layerNorm } from '../decoder/norms.js';
import { plainPerceptron } from '../decoder/perceptrons.js';
import { fixedRoles } from '../decoder/self-attention.js';
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

const DEFAULTS = { features: 3072, depth: 30, heads: 24, keyHeads: 2, vocabulary: 49152, context: 4096 };

export const starcoder2 = decoderFamily({
  modelType: 'starcoder2',
  architectures: ['Starcoder2ForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const turn = turning(readRope(config, heads.headSize, sizes.positions));
    const windows = readWindows(config, sizes.depth, config.optionalSize('sliding_window'), () => true);
    const norm = layerNorm(config.positive('norm_epsilon', 1e-5));
    const bias = config.flag('use_bias', true);
    const down = { name: 'mlp.c_proj', bias };
    const perceptron = plainPerceptron({ name: 'mlp.c_fc', bias }, down, {
      hidden: config.size('intermediate_size', 12288, MAX_FEATURES),
      activation: readActivation(config, 'gelu_pytorch_tanh'),
    });
    return {
      ...usualParts(sizes, norm, readTied(config, true, options)),
      variants: windowVariants(windows),
      block: (index) => {
        const attention = usualAttention(heads, {
          bias: { qkv: bias, output: bias },
          turn,
          mask: causal(windows[index]),
        });
        return preNormBlock(
          attention,
          perceptron,
          norm,
          fixedRoles(attention, down.name, 'self_attn.v_proj'),
        );
      },
    };
  },
});
