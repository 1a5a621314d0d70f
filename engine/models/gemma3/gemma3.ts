/**
 * Gemma 3's language models (Gemma Team 2025): Gemma 2 with norms of queries and keys, and layers with a window that have positions
 * of their own; Hugging Face layout `gemma3_text`.
 */
import { readActivation } from '../activations.js';
import type { ModelConfig } from '../config.js';
import { decoderFamily } from '../decoder/decoder.js';
import { perHead } from '../decoder/norms.js';
import {
  causal,
  readAttentionBias,
  turning,
  USUAL_TENSORS,
  usualAttention,
  windowVariants,
} from '../decoder/usual.js';
import { readWindows } from '../decoder/windows.js';
import { readGemma } from '../gemma/gemma.js';
import { boundedHead, GEMMA2_DEFAULTS, readScores, sandwichBlock } from '../gemma2/gemma2.js';
import { ropeOf, type Rope } from '../rope.js';

const DEFAULTS = { ...GEMMA2_DEFAULTS, vocabulary: 262208, context: 131072 };

/** Of layers that see everything, and of those with a window: a section each, or, before, a scaling that holds for the first alone. */
function readRopes(config: ModelConfig, size: number, positions: number): { full: Rope; sliding: Rope } {
  const parameters = config.section('rope_parameters');
  const full = config.section('rope_scaling') ?? parameters?.section('full_attention');
  const sliding = parameters?.section('sliding_attention');
  return {
    full: ropeOf(config, full, size, positions, { theta: 1_000_000 }),
    sliding: ropeOf(config, sliding, size, positions, { thetaKeys: ['rope_local_base_freq'] }),
  };
}

export const gemma3 = decoderFamily({
  modelType: 'gemma3_text',
  architectures: ['Gemma3ForCausalLM'],
  ...USUAL_TENSORS,
  design: (config, options) => {
    const activation = readActivation(config, 'gelu_pytorch_tanh', 'hidden_activation');
    const common = readGemma(config, DEFAULTS, activation, options);
    const { sizes, heads, norm } = common;
    const ropes = readRopes(config, heads.headSize, sizes.positions);
    const [everywhere, nearby] = [turning(ropes.full), turning(ropes.sliding)];
    const window = config.optionalSize('sliding_window', 4096);
    const period = config.size('sliding_window_pattern', 6);
    const windows = readWindows(config, sizes.depth, window, (layer) => (layer + 1) % period !== 0);
    const { scores, mostLogit } = readScores(config);
    const bias = readAttentionBias(config);
    return {
      ...common,
      variants: windowVariants(windows),
      block: (index) => {
        const turn = windows[index] === undefined ? everywhere : nearby;
        const mask = causal(windows[index]);
        return sandwichBlock(
          usualAttention(heads, { ...scores, bias, headNorm: perHead(norm), turn, mask }),
          common,
        );
      },
      head: boundedHead(common.head, mostLogit),
    };
  },
});
