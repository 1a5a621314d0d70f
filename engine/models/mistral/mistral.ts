/**
 * Mistral 7B (Jiang et al. 2023): LLaMA with a sliding window in every block, or in those that `layer_types` names; Hugging Face
 * layout `mistral`.
 */
import { readWindows } from '../decoder/windows.js';
import { llamaFamily } from '../llama/llama.js';

export const mistral = llamaFamily(
  'mistral',
  'MistralForCausalLM',
  { hidden: 14336, context: 131072, vocabulary: 32000, keyHeads: 8 },
  (config, depth) => {
    const window = config.optionalSize('sliding_window', 4096);
    return { windows: readWindows(config, depth, window, () => true) };
  },
);
