import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { SetConfig } from '../formats/set-config.js';
import { checkpointBytes, quantizedBytes } from '../quantized/size.js';
import { sizedModel } from './sets.js';

let vit: Checkpoint;
let llama: Checkpoint;
let tied: Checkpoint;
let cleanUp: () => Promise<void>;

beforeAll(async () => {
  const temporary = await temporaryFolder();
  cleanUp = temporary.cleanUp;
  const open = async (name: string, config: object) => {
    await writeRandomModel(join(temporary.folder, name), { ...config });
    return openCheckpoint(join(temporary.folder, name));
  };
  vit = await open('vit', TINY_VIT);
  llama = await open('llama', TINY_LLAMA);
  tied = await open('tied', { ...TINY_LLAMA, tie_word_embeddings: true });
});
afterAll(async () => {
  for (const checkpoint of [vit, llama, tied]) await checkpoint.close();
  await cleanUp();
});

/** A set without layers of its own, whose weights have one scale a row. */
const config: SetConfig = {
  schema_version: 2,
  engine_version: '0.1.0',
  mode: 'weight-only',
  model: { family: 'llama', fingerprint: 'a'.repeat(64), name: 'model' },
  seed: 0,
  offered: [8, 4, 2],
  embedding_bits: 16,
  head_bits: 16,
  transforms: [],
  layers: {},
  method: { name: 'gptq', group_size: 8 },
};
const bytesWith = (checkpoint: Checkpoint, change: Partial<SetConfig>, bits: number) =>
  quantizedBytes(sizedModel(checkpoint, { ...config, ...change }), bits);

// Elements of TINY_VIT (16 features, hidden 32, patches of 4 × 4, 5 tokens, 6 classes) and TINY_LLAMA (16 features, 4 heads,
// 2 of keys, hidden 24, 11 words), both of two blocks.
const VIT_STEM_REST = 16 + 16 + 5 * 16;
const VIT_BLOCK_REST = 4 * 16 + 4 * 16 + 32 + 16;
const VIT_HEAD_REST = 2 * 16 + 6;
const LLAMA_TABLE = 11 * 16;

it('is on disk what the checkpoint stores, a shared tensor once', () => {
  const weights = 16 * 16 + 2 * (4 * 16 * 16 + 2 * 16 * 32) + 6 * 16;
  expect(checkpointBytes(vit)).toBe(4 * (weights + VIT_STEM_REST + 2 * VIT_BLOCK_REST + VIT_HEAD_REST));
  const block = 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24 + 2 * 16;
  expect(checkpointBytes(llama)).toBe(4 * (2 * LLAMA_TABLE + 2 * block + 16));
  expect(checkpointBytes(tied)).toBe(4 * (LLAMA_TABLE + 2 * block + 16));
});

it('counts embedding and head of a classifier at their own bit-width', () => {
  // A row costs its integers, 2 bytes of scale, and its share of the zero points.
  const fixed = 16 * 16 + 16 * 3 + (6 * 16 + 6 * 3);
  const square = (16 * 16) / 2 + 16 * 2 + 8;
  const up = (32 * 16) / 2 + 32 * 2 + 16;
  const down = (16 * 32) / 2 + 16 * 2 + 8;
  const rest = 2 * (VIT_STEM_REST + 2 * VIT_BLOCK_REST + VIT_HEAD_REST);
  expect(bytesWith(vit, { embedding_bits: 8, head_bits: 8 }, 4)).toBe(
    fixed + 2 * (4 * square + up + down) + rest,
  );
});

it('keeps embedding and head of a language model in float16, and counts scales by group', () => {
  const layers = Object.fromEntries(
    llama.model.blocks.flatMap((part) =>
      llama
        .listing(part)
        .linears.map((l) => [
          part.prefix + l.name,
          { ...l, group_size: { 2: 8, 8: -1 }, input: part.prefix + l.input },
        ]),
    ),
  );
  // Two scales per row of 16 columns, three per row of 24.
  const q = (16 * 16) / 4 + 32 * 2 + 8;
  const k = (8 * 16) / 4 + 16 * 2 + 4;
  const gate = (24 * 16) / 4 + 48 * 2 + 12;
  const down = (16 * 24) / 4 + 48 * 2 + 12;
  const blocks = 2 * (2 * q + 2 * k + 2 * gate + down + 2 * 2 * 16);
  expect(bytesWith(llama, { layers }, 2)).toBe(blocks + 2 * (2 * LLAMA_TABLE + 16));
  expect(bytesWith(tied, { layers }, 2)).toBe(blocks + 2 * (LLAMA_TABLE + 16));
});

it('counts a shared table twice where the head stores it as integers', () => {
  const difference = bytesWith(tied, { head_bits: 8 }, 8) - bytesWith(tied, {}, 8);
  expect(difference).toBe(LLAMA_TABLE + 11 * 3);
});

it('counts a shared table twice in a rotated model, whose head reads another', () => {
  const transforms = [{ name: 'rotation', signs: '0000', keys: false }];
  expect(bytesWith(tied, { transforms }, 8) - bytesWith(tied, {}, 8)).toBe(2 * LLAMA_TABLE);
  expect(bytesWith(llama, { transforms }, 8)).toBe(bytesWith(llama, {}, 8));
});

it('counts each layer at its own bit-width, and in float16 where it has none', () => {
  const sized = sizedModel(llama);
  const [some, other] = llama.model.blocks.map(({ prefix }) => `${prefix}mlp.down_proj`);
  const widths = (name: string) => (name === some ? 2 : name === other ? undefined : 8);
  // A layer [16, 24]: 8 bits are a byte per weight, 2 scale and 1 zero point per row.
  const eight = 16 * 24 + 16 * 3;
  const two = (16 * 24) / 4 + 16 * 2 + 4;
  expect(quantizedBytes(sized, widths)).toBe(quantizedBytes(sized, 8) - 2 * eight + two + 2 * 16 * 24);
});
