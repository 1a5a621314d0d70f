/** SmolLM 3 (Hugging Face 2025): LLaMA with some layers that do not turn by positions, layout `smollm3`. */
import type { ModelConfig } from '../config.js';
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
  windowVariants,
} from '../decoder/usual.js';
import { readWindows } from '../decoder/windows.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 2048, depth: 36, heads: 16, keyHeads: 4, vocabulary: 128256, context: 32768 };

/** By layer, whether it turns by positions: 1 in `no_rope_layers` says that it does. */
function readTurning(config: ModelConfig, depth: number): readonly boolean[] {
  if (config.has('no_rope_layers')) return config.counts('no_rope_layers', depth).map((n) => n !== 0);
  const period = config.size('no_rope_layer_interval', 4);
  return Array.from({ length: depth }, (_, layer) => (layer + 1) % period !== 0);
}

export const smollm3 = decoderFamily({
  modelType: 'smollm3',
  architectures: ['SmolLM3ForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const turns = readTurning(config, sizes.depth);
    const turn = turning(readRope(config, heads.headSize, sizes.positions, { theta: 2_000_000 }));
    const isOn = config.flag('use_sliding_window', false);
    const window = isOn ? config.optionalSize('sliding_window') : undefined;
    const windows = readWindows(config, sizes.depth, window, (layer) => !turns[layer]);
    const norm = rmsNorm(config.positive('rms_norm_eps', 1e-6));
    const bias = readAttentionBias(config);
    const perceptron = usualPerceptron(config, 11008, { bias: config.flag('mlp_bias', false) });
    return {
      ...usualParts(sizes, norm, readTied(config, true, options)),
      variants: windowVariants(windows).map((variant, layer) =>
        turns[layer] ? variant : `${variant}${variant && ', '}without positions`,
      ),
      block: (index) =>
        preNormBlock(
          usualAttention(heads, {
            bias,
            turn: turns[index] ? turn : undefined,
            mask: causal(windows[index]),
          }),
          perceptron,
          norm,
        ),
      turnedNorm: FINAL_NORM,
    };
  },
});
