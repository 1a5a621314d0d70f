/** Qwen 2 and 2.5 (Yang et al. 2024): LLaMA with biases on queries, keys and values, Hugging Face layout `qwen2`. */
import { show } from '../../formats/paths.js';
import type { ModelConfig } from '../config.js';
import { llamaFamily } from '../llama/llama.js';

/** Refuses samples longer than a sliding window that some layers have and others have not. */
export function requireFullAttention(config: ModelConfig, tokens: number): void {
  const types = config.texts('layer_types');
  const other = types.find((type) => !['full_attention', 'sliding_attention'].includes(type));
  if (other !== undefined)
    config.fail('layer_types', `has ${show(other)}; supported are "full_attention" and "sliding_attention"`);
  if (!config.flag('use_sliding_window', false) && !types.includes('sliding_attention')) return;
  const window = config.optionalSize('sliding_window', 4096) ?? tokens;
  if (window < tokens)
    config.fail(
      'sliding_window',
      `is ${window} in some layers, which is supported for samples of at most as many tokens, not ${tokens}`,
    );
}

export const qwen2 = llamaFamily('qwen2', 'Qwen2ForCausalLM', (config, tokens) => {
  requireFullAttention(config, tokens);
  return { bias: { qkv: true } };
});
