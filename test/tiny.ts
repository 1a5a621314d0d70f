/** A small random model of every family, as large as a test of all of them can afford. */
import { TINY_LLAMA, TINY_VIT } from './fixtures.js';

type Config = Readonly<Record<string, unknown>>;

/** Configurations by family. A new family adds a line here, and takes part in the tests of all families. */
export const TINY: Readonly<Record<string, Config>> = {
  vit: TINY_VIT,
  deit: { ...TINY_VIT, model_type: 'deit', architectures: ['DeiTForImageClassificationWithTeacher'] },
  llama: TINY_LLAMA,
  mistral: {
    ...TINY_LLAMA,
    model_type: 'mistral',
    architectures: ['MistralForCausalLM'],
    sliding_window: 4,
    tie_word_embeddings: true,
  },
  qwen2: { ...TINY_LLAMA, model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] },
  qwen3: { ...TINY_LLAMA, model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 8 },
};
