import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../test/fixtures.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { planBaselines, type BaselineTask } from './baselines.js';

let cleanUp: () => Promise<void>;
let checkpoint: Checkpoint;
beforeAll(async () => {
  const made = await temporaryFolder();
  cleanUp = made.cleanUp;
  await writeRandomModel(join(made.folder, 'llama'), TINY_LLAMA);
  checkpoint = await openCheckpoint(join(made.folder, 'llama'));
});
afterAll(async () => {
  await checkpoint.close();
  await cleanUp();
});

const planned = (baseline: string[], widths: number[]) => {
  const task = { sharesData: true, words: { data: 'text' } } as unknown as BaselineTask;
  const request = { model: checkpoint.folder, data: '/text', baseline };
  return planBaselines(task, checkpoint, request, [], widths).planned.map(({ settings }) => settings.offered);
};

it('has each baseline at those of the bit-widths that it takes', () => {
  expect(planned(['rounding', 'direct', 'gptq'], [8, 4, 2.3, 1])).toEqual([
    [8, 4],
    [8, 4, 1],
    [8, 4],
  ]);
});

it('refuses one that takes none of them, by what it says', () => {
  expect(() => planned(['direct', 'rounding'], [1])).toThrow('Rounding has bit-widths from 2 to 8, not 1.');
});
