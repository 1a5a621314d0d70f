/** What onnxruntime-genai reads beside a language model: its sizes, and what inputs and outputs are called. */
import { join } from 'node:path';
import { expectObject, readJsonFile } from '../../formats/json.js';
import type { LanguageModel } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';

/** The content of `genai_config.json`. @param filename of the model, from the folder that it lies in */
export async function genaiConfig({ original }: ExportContext, filename: string): Promise<string> {
  const path = join(original.folder, 'config.json');
  const config = expectObject(await readJsonFile(path, { python: true }), 'config.json');
  const { bos_token_id, eos_token_id, pad_token_id } = config;
  const { family, vocabulary, context, blocks, layout } = original.model as LanguageModel;
  const { heads, keyHeads, headSize, features } = layout!;
  return JSON.stringify(
    {
      model: {
        type: family,
        ...(bos_token_id !== undefined && { bos_token_id }),
        ...(eos_token_id !== undefined && { eos_token_id }),
        pad_token_id: pad_token_id ?? [eos_token_id ?? 0].flat()[0],
        vocab_size: vocabulary,
        context_length: context,
        decoder: {
          filename,
          num_attention_heads: heads,
          num_key_value_heads: keyHeads,
          head_size: headSize,
          hidden_size: features,
          num_hidden_layers: blocks.length,
          inputs: {
            input_ids: 'input_ids',
            attention_mask: 'attention_mask',
            position_ids: 'position_ids',
            past_key_names: 'past_key_values.%d.key',
            past_value_names: 'past_key_values.%d.value',
          },
          outputs: {
            logits: 'logits',
            present_key_names: 'present.%d.key',
            present_value_names: 'present.%d.value',
          },
          session_options: { provider_options: [] },
        },
      },
      search: { max_length: context },
    },
    undefined,
    2,
  );
}
