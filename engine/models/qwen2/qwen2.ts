/** Qwen 2 and 2.5 (Yang et al. 2024): LLaMA with biases on queries, keys and values, Hugging Face layout `qwen2`. */
import type { ModelConfig } from '../config.js';
import { readWindows } from '../decoder/windows.js';
import { llamaFamily, type LlamaTraits } from '../llama/llama.js';

/** What both generations have where keys are missing. */
export const QWEN_DEFAULTS = { hidden: 22016, context: 32768, vocabulary: 151936, keyHeads: 32 };

/** Windows of the layers from `max_window_layers` on, or of those that `layer_types` names; none unless they are switched on. */
export function qwenWindows(config: ModelConfig, depth: number): Required<Pick<LlamaTraits, 'windows'>> {
  const isOn = config.flag('use_sliding_window', false);
  const window = isOn ? config.optionalSize('sliding_window', 4096) : undefined;
  const first = config.count('max_window_layers', 28);
  return { windows: readWindows(config, depth, window, (layer) => layer >= first) };
}

export const qwen2 = llamaFamily('qwen2', 'Qwen2ForCausalLM', QWEN_DEFAULTS, (config, depth) => ({
  ...qwenWindows(config, depth),
  bias: { qkv: true },
}));
