import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../test/fixtures.js';
import { maxDifference } from '../../test/support.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { openPlainModel, type RunnableModel } from './model.js';
import { openElasticModel } from './quantized-model.js';
import { gridSource, usePrograms } from './testing.js';
import { wideLayers } from './wide-layers.js';

const programs = usePrograms();
const IDS = BigInt64Array.from([3, 1, 4, 1, 5], BigInt);
const oneByOne = true;

let checkpoint: Checkpoint;
let cleanUp: () => Promise<void>;
beforeAll(async () => {
  const made = await temporaryFolder();
  cleanUp = made.cleanUp;
  const path = join(made.folder, 'model');
  // More tokens than features, so that the head is wide too.
  await writeRandomModel(path, { ...TINY_LLAMA, vocab_size: 40, mlp_bias: true });
  checkpoint = await openCheckpoint(path);
});
afterAll(async () => {
  await checkpoint.close();
  await cleanUp();
});

const logits = (model: RunnableModel) => model.run(programs.runtime.tensor(IDS, [1, IDS.length]), 1);

it('are those with more outputs than inputs, on a CPU, of models that are asked for one token at a time', () => {
  const { blocks, head } = checkpoint.model;
  const wide = (part: typeof head, options = { oneByOne }) => [
    ...wideLayers(programs, checkpoint.listing(part), options),
  ];
  expect(wide(blocks[0]!)).toEqual(['mlp.gate_proj', 'mlp.up_proj']);
  expect(wide(head)).toEqual(['lm_head']);
  expect(wide(head, { oneByOne: false })).toEqual([]);
  const elsewhere = { runtime: { ...programs.runtime, device: 'webgpu' as const } };
  expect([...wideLayers(elsewhere, checkpoint.listing(head), { oneByOne })]).toEqual([]);
});

it('are fed by columns, and leave what the model makes of a text', async () => {
  const shapes = new Set<string>();
  const watched = {
    ...programs,
    get: (...asked: Parameters<typeof programs.get>) => {
      for (const [name, { shape }] of asked[0].inputs)
        if (/gate_proj.weight|lm_head.weight/.test(name)) shapes.add(`${name} ${shape.join('×')}`);
      return programs.get(...asked);
    },
  };
  const plain = await openPlainModel(programs, checkpoint);
  const turned = await openPlainModel(watched, checkpoint, { oneByOne });
  expect(maxDifference(await logits(turned), await logits(plain))).toBeLessThan(1e-5);
  expect([...shapes]).toEqual(['mlp.gate_proj.weight 16×24', 'lm_head.weight 16×40']);
  plain.dispose();
  turned.dispose();
});

it('are switched as others are, from full precision and back', async () => {
  const settings = { groupSizeOf: () => -1, activation: () => undefined };
  const open = (options?: { oneByOne: boolean }) =>
    openElasticModel(programs, gridSource(programs, checkpoint, [8, 4, 2], settings), 0, options);
  const [usual, turned] = [await open(), await open({ oneByOne })];
  const seen: Float32Array[] = [];
  for (const bits of [undefined, 2, 8, undefined, 4]) {
    for (const model of [usual, turned]) await model.use(() => bits);
    seen.push(await logits(turned));
    expect(maxDifference(seen.at(-1)!, await logits(usual))).toBeLessThan(1e-5);
  }
  expect(maxDifference(seen[0]!, seen[1]!)).toBeGreaterThan(1e-3);
  expect(seen[3]).toEqual(seen[0]);
  usual.dispose();
  turned.dispose();
});
