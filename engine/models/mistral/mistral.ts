/**
 * Mistral 7B (Jiang et al. 2023): LLaMA with a sliding window in every block, or in those that `layer_types` names; Hugging Face
 * layout `mistral`.
 */
import { llamaFamily, windowsOfTypes } from '../llama/llama.js';

export const mistral = llamaFamily(
  'mistral',
  'MistralForCausalLM',
  { hidden: 14336, context: 131072, vocabulary: 32000, keyHeads: 8 },
  (config, depth) => {
    const window = config.optionalSize('sliding_window', 4096);
    return { windows: windowsOfTypes(config, depth, window) ?? Array<typeof window>(depth).fill(window) };
  },
);
