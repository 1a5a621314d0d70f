/** From `model_type` to a family. A new architecture is one file and one line here. */
import { show } from '../formats/paths.js';
import type { ModelConfig } from './config.js';
import { beit } from './beit/beit.js';
import { bloom } from './bloom/bloom.js';
import { cohere } from './cohere/cohere.js';
import { falcon } from './falcon/falcon.js';
import { gemma } from './gemma/gemma.js';
import { gemma2 } from './gemma2/gemma2.js';
import { gemma3 } from './gemma3/gemma3.js';
import { gpt2 } from './gpt2/gpt2.js';
import { gptNeox } from './gpt_neox/gpt_neox.js';
import { granite } from './granite/granite.js';
import { mixtral } from './mixtral/mixtral.js';
import { olmo2 } from './olmo2/olmo2.js';
import { opt } from './opt/opt.js';
import { phi } from './phi/phi.js';
import { phi3 } from './phi3/phi3.js';
import { qwen3Moe } from './qwen3_moe/qwen3_moe.js';
import { smollm3 } from './smollm3/smollm3.js';
import { swin } from './swin/swin.js';
import { starcoder2 } from './starcoder2/starcoder2.js';
import { deit } from './deit/deit.js';
import { llama } from './llama/llama.js';
import { mistral } from './mistral/mistral.js';
import { qwen2 } from './qwen2/qwen2.js';
import { qwen3 } from './qwen3/qwen3.js';
import type { Model } from './model.js';
import { vit } from './vit/vit.js';
import type { BuildOptions, Family } from './family.js';

export const families: readonly Family[] = [
  vit,
  deit,
  beit,
  swin,
  llama,
  mistral,
  qwen2,
  qwen3,
  qwen3Moe,
  mixtral,
  phi3,
  phi,
  gemma,
  gemma2,
  gemma3,
  olmo2,
  smollm3,
  granite,
  cohere,
  starcoder2,
  gpt2,
  gptNeox,
  opt,
  bloom,
  falcon,
];

/** The model that a configuration describes. Throws UserError with the reason where none of the families fits. */
export function buildModel(
  config: ModelConfig,
  options: BuildOptions = {},
  known: readonly Family[] = families,
): Model {
  const family = familyOf(config, known);
  const architecture = config.texts('architectures')[0];
  if (architecture !== undefined && !family.architectures.includes(architecture))
    config.fail(
      'architectures',
      `is ${show(architecture)}; supported for ${show(family.modelType)} are ${family.architectures.join(', ')}`,
    );
  for (const key of ['quantization_config', 'compression_config'])
    if (config.has(key) && !options.packed)
      config.fail(key, 'is present: weights that are quantized already are not supported');
  return family.build(config, architecture, options);
}

/** The family of a configuration. Throws UserError where it is none of those known. */
export function familyOf(config: ModelConfig, known: readonly Family[] = families): Family {
  const type = config.text('model_type');
  const family = known.find((f) => f.modelType === type);
  if (!family)
    config.fail('model_type', `is ${show(type)}; supported are ${known.map((f) => f.modelType).join(', ')}`);
  return family;
}
