/** What a model costs in memory as it gets deeper: jobs hold the weights of one block, not of the model. Runs the built command line. */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRandom } from '../engine/data/random.js';
import { float32ToBfloat16 } from '../engine/formats/floats.js';
import { writeSafetensors } from '../engine/formats/safetensors.js';
import type { CalibrateEstimate, CalibrateResult, EvaluateResult } from '../engine/protocol/protocol.js';
import { ModelConfig } from '../engine/models/config.js';
import { listPart } from '../engine/models/listing.js';
import { partsOf } from '../engine/models/model.js';
import { buildModel } from '../engine/models/registry.js';
import { runCli } from './cli-run.js';
import { temporaryFolder } from './fixtures.js';

const SAMPLES = join(import.meta.dirname, '../samples');
const [SHALLOW, DEEP] = [4, 16];
/** Width of the stream and within a block; of the narrow one Hessians are quickly factored. */
const SIZES = { wide: [512, 4608], middle: [256, 2048], narrow: [256, 1024] } as const;
type Size = keyof typeof SIZES;
const config = (depth: number, size: Size) => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  ...{ hidden_size: SIZES[size][0], intermediate_size: SIZES[size][1] },
  ...{ num_hidden_layers: depth, vocab_size: 2048 },
  ...{ num_attention_heads: 8, num_key_value_heads: 8, max_position_embeddings: 64 },
});
/** Of one block's weights in float32. */
const weightsOf = (size: Size) => 4 * (4 * SIZES[size][0] ** 2 + 3 * SIZES[size][0] * SIZES[size][1]);
/** Of its Hessians. */
const hessiansOf = (size: Size) => 4 * (6 * SIZES[size][0] ** 2 + SIZES[size][1] ** 2);

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  for (const depth of [SHALLOW, DEEP])
    for (const size of ['wide', 'middle', 'narrow'] as const) await writeModel(depth, size);
});
afterAll(() => cleanUp());

const model = (depth: number, size: Size = 'wide') => join(folder, `${size}-${depth}`);

/** A random model in bfloat16, all blocks alike: tensors of one shape are the same array, so that writing takes no memory. */
async function writeModel(depth: number, size: Size): Promise<void> {
  const path = model(depth, size);
  await mkdir(path);
  await writeFile(join(path, 'config.json'), JSON.stringify(config(depth, size)));
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(SAMPLES, 'llama-speeches', name), join(path, name));
  const random = createRandom(1, 'weights');
  const noise = Float32Array.from({ length: 4999 }, () => random.normal());
  const made = new Map<string, Uint16Array>();
  const weights = (shape: readonly number[]) => {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1);
    const scaled = noise.map((x) => x / Math.sqrt(shape.at(-1)!));
    if (shape.length > 1)
      for (let at = 0; at < data.length; at += scaled.length)
        data.set(scaled.subarray(0, data.length - at), at);
    return float32ToBfloat16(data);
  };
  const entries = partsOf(buildModel(new ModelConfig(config(depth, size), 'config.json'))).flatMap((part) =>
    listPart(part).parameters.map(({ name, shape }) => {
      const key = shape.join();
      if (!made.has(key)) made.set(key, weights(shape));
      return { name: part.prefix + name, dtype: 'BF16' as const, shape, data: made.get(key)! };
    }),
  );
  await writeSafetensors(join(path, 'model.safetensors'), entries);
}

async function run<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await runCli([...args, '--device', 'cpu', '--threads', '2', '--json']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as T;
}

const calibrate = (depth: number) =>
  run<CalibrateResult>(
    ...['calibrate', model(depth), '--data', join(SAMPLES, 'data/speeches/calibration.txt')],
    ...[
      '--out',
      `${model(depth)}-elastic`,
      '--method',
      'quept',
      '--bits',
      '4',
      '--rank',
      '1',
      '--clip-start',
      'paper',
      '--smooth',
      'off',
      '--adapter-start',
      'random',
    ],
    ...['--samples', '2', '--length', '8', '--epochs', '1', '--batch', '2'],
  );
const slide = (depth: number) =>
  run<CalibrateResult>(
    ...['calibrate', model(depth), '--data', join(SAMPLES, 'data/speeches/calibration.txt')],
    ...['--out', `${model(depth)}-slider`, '--method', 'sliderquant', '--bits', '4', '--fill', '2'],
    ...['--stages', '1', '--samples', '2', '--length', '8', '--epochs', '1', '--batch', '2'],
  );
const byLoss = (depth: number) =>
  run<CalibrateResult>(
    ...['calibrate', model(depth, 'narrow'), '--data', join(SAMPLES, 'data/speeches/calibration.txt')],
    ...['--out', `${model(depth, 'narrow')}-loss`, '--method', 'oac', '--bits', '4'],
    ...['--samples', '2', '--length', '8'],
  );
const byWeighting = (depth: number) =>
  run<CalibrateResult>(
    ...['calibrate', model(depth, 'middle'), '--data', join(SAMPLES, 'data/speeches/calibration.txt')],
    ...['--out', `${model(depth, 'middle')}-weighted`, '--method', 'direct', '--weighting', 'loss'],
    ...['--effort', 'quick', '--bits', '4', '--samples', '2', '--length', '8'],
  );
const atBest = (depth: number) => [
  ...['calibrate', model(depth, 'narrow'), '--data', join(SAMPLES, 'data/speeches/calibration.txt')],
  ...['--out', `${model(depth, 'narrow')}-best`, '--method', 'direct', '--effort', 'best'],
  ...['--bits', '2', '--samples', '4', '--length', '8'],
];
const evaluate = (depth: number) =>
  run<EvaluateResult>(
    ...['evaluate', model(depth), '--data', join(SAMPLES, 'data/speeches/evaluation.txt')],
    ...['--adapters', `${model(depth)}-elastic`, '--limit', '2', '--length', '8'],
  );

it.each([
  ['calibration', calibrate, weightsOf('wide')],
  ['calibration in windows', slide, weightsOf('wide')],
  ['calibration by the loss', byLoss, weightsOf('narrow') + hessiansOf('narrow')],
  ['calibration weighted by the loss', byWeighting, weightsOf('middle') + hessiansOf('middle')],
  ['evaluation', evaluate, weightsOf('wide')],
])(
  'the peak memory of a %s does not grow with the number of blocks',
  async (_, job, block) => {
    const [shallow, deep] = [await job(SHALLOW), await job(DEEP)];
    // Held at once, what further blocks have would come to twelve times a block's.
    expect(deep.peakMemory - shallow.peakMemory).toBeLessThan(((DEEP - SHALLOW) / 3) * block);
  },
  300_000,
);

it.each([SHALLOW, DEEP])(
  'of %i blocks trained at once the peak memory is what the estimate says, within a quarter',
  async (depth) => {
    const { bytes } = await run<CalibrateEstimate>(...atBest(depth), '--estimate');
    const { peakMemory } = await run<CalibrateResult>(...atBest(depth));
    expect(bytes / peakMemory).toBeGreaterThan(0.75);
    expect(bytes / peakMemory).toBeLessThan(1.25);
  },
  300_000,
);
