/** Small random checkpoints and pictures for tests. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRandom } from '../engine/data/random.js';
import { writeSafetensors } from '../engine/formats/safetensors.js';
import { ModelConfig } from '../engine/models/config.js';
import type { Family } from '../engine/models/family.js';
import { listPart } from '../engine/models/listing.js';
import { partsOf } from '../engine/models/model.js';
import type { VisionModel } from '../engine/models/model.js';
import { buildModel } from '../engine/models/registry.js';
import type { Outline } from '../engine/transforms/transform.js';

export const TINY_VIT = {
  architectures: ['ViTForImageClassification'],
  model_type: 'vit',
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  hidden_act: 'gelu',
  image_size: 8,
  patch_size: 4,
  num_channels: 1,
  qkv_bias: true,
  layer_norm_eps: 1e-6,
  id2label: { '0': 'a', '1': 'b', '2': 'c', '3': 'd', '4': 'e', '5': 'f' },
};

export const TINY_LLAMA = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 24,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  rope_theta: 100,
  max_position_embeddings: 32,
  vocab_size: 11,
};

/** A model of a configuration, without weights. */
export const outlineOf = (name: string, config: object): Outline => ({
  name,
  model: buildModel(new ModelConfig({ ...config }, 'config.json')),
  listing: (part) => listPart(part),
});

/** A folder that `cleanUp` removes. */
export async function temporaryFolder(): Promise<{ folder: string; cleanUp: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
  return { folder, cleanUp: () => rm(folder, { recursive: true, force: true }) };
}

/** Writes a checkpoint with random weights that a config describes; norms near one, so that activations keep their size. */
export async function writeRandomModel(
  folder: string,
  config: Readonly<Record<string, unknown>> = TINY_VIT,
  seed = 1,
  families?: readonly Family[],
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const random = createRandom(seed, 'model');
  const tensors = [];
  const model = buildModel(new ModelConfig(config, 'config.json'), {}, families);
  for (const part of partsOf(model))
    for (const { name, shape, storedShape, storedName } of listPart(part).parameters) {
      const size = shape.reduce((a, b) => a * b, 1);
      const isNorm = name.includes('norm') && name.endsWith('.weight');
      const spread = shape.length > 1 ? 1 / Math.sqrt(shape.at(-1)!) : 0.1;
      const data = Float32Array.from({ length: size }, () => (isNorm ? 1 : 0) + spread * random.normal());
      // A tensor that two parts share is written once.
      if (storedName === undefined)
        tensors.push({ name: part.prefix + name, dtype: 'F32' as const, shape: storedShape, data });
    }
  await writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  if (model.reads !== 'pixels') return;
  const { height, width } = (model as VisionModel).image;
  await writeFile(
    join(folder, 'preprocessor_config.json'),
    JSON.stringify({ image_processor_type: 'ViTImageProcessor', size: { height, width } }),
  );
}

/** IDX pictures of noise with labels; returns the path of the images file. */
export async function writeRandomPictures(
  folder: string,
  count: number,
  size = 8,
  classes = 6,
  seed = 2,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const random = createRandom(seed, 'pictures');
  const header = (magic: number, ...lengths: number[]) => {
    const buffer = Buffer.alloc(4 + 4 * lengths.length);
    [magic, ...lengths].forEach((n, i) => buffer.writeUInt32BE(n, 4 * i));
    return buffer;
  };
  const noise = (length: number, limit: number) =>
    Buffer.from(Array.from({ length }, () => random.integer(limit)));
  const images = join(folder, 'train-images-idx3-ubyte');
  await writeFile(images, Buffer.concat([header(0x803, count, size, size), noise(count * size * size, 256)]));
  await writeFile(
    join(folder, 'train-labels-idx1-ubyte'),
    Buffer.concat([header(0x801, count), noise(count, classes)]),
  );
  return images;
}
