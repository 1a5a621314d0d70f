/** Qwen 3 (Yang et al. 2025): LLaMA with a norm on every head of queries and keys, Hugging Face layout `qwen3`. */
import { llamaFamily } from '../llama/llama.js';
import { QWEN_DEFAULTS, qwenWindows } from '../qwen2/qwen2.js';

export const qwen3 = llamaFamily(
  'qwen3',
  'Qwen3ForCausalLM',
  { ...QWEN_DEFAULTS, headSize: 128 },
  (config, depth) => {
    const bias = config.flag('attention_bias', false);
    return { ...qwenWindows(config, depth), bias: { qkv: bias, output: bias }, headNorms: true };
  },
);
