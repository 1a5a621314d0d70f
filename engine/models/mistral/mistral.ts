/** Mistral 7B (Jiang et al. 2023): LLaMA with a sliding window in every block, Hugging Face layout `mistral`. */
import { llamaFamily } from '../llama/llama.js';

export const mistral = llamaFamily('mistral', 'MistralForCausalLM', (config) => ({
  window: config.optionalSize('sliding_window', 4096),
}));
