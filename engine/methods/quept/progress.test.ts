import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../test/fixtures.js';
import { UserError } from '../../errors.js';
import { openProgress, progressMade } from '../progress.js';
import { blockProgress, type FinishedBlock } from './progress.js';
import type { Snapshot } from './reconstruct.js';
import { normals } from '../../execution/testing.js';

let folder: string;
let cleanUp: () => Promise<void>;
/** A fresh adapter set's folder for each test. */
let out: string;
let count = 0;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());
beforeEach(() => (out = join(folder, `set-${count++}`)));

const open = async () => blockProgress(await openProgress(out, { model: 'abc' }, true));

/** Values that a decimal would lose: subnormal, negative zero, the ends of the range. */
const hard = Float32Array.of(1e-45, -0, 3.4028234663852886e38, 0.1, -1 / 3);
const block: FinishedBlock = {
  tensors: new Map([
    ['a.lora_A', normals([3, 4], 'a')],
    ['a.clip_upper.4', { shape: [5, 1], data: hard }],
    ['b.empty', { shape: [0, 4], data: new Float32Array() }],
  ]),
  started: new Map([['a.clip_upper.4', normals([5, 1], 'start')]]),
  first: [1 / 3, 2.5],
  last: [1e-300, 0],
};
const snapshot: Snapshot = {
  epoch: 3,
  state: new Map(
    Object.entries({ lora: normals([40], 'lora').data, 'lora.m': hard, 'clip.0.v': new Float32Array(7) }),
  ),
  first: [0.1, 0.2],
  last: [0.05, 1 / 7],
};

describe('what was saved', () => {
  it('comes back to the last bit, blocks by number', async () => {
    const progress = await open();
    await progress.finishBlock(0, block);
    await progress.finishBlock(11, { ...block, first: [7] });
    const again = await open();
    for (const source of [progress, again]) {
      const { tensors, started, ...rest } = (await source.block(0))!;
      expect(rest).toEqual({ first: block.first, last: block.last });
      expect([...tensors].sort()).toEqual([...block.tensors].sort());
      expect(started).toEqual(block.started);
      expect(Object.is(tensors.get('a.clip_upper.4')!.data[1], -0)).toBe(true);
      expect((await source.block(11))!.first).toEqual([7]);
      expect(await source.block(1)).toBeUndefined();
    }
  });

  it('comes back for an epoch of the block in work, and for no other', async () => {
    const progress = await open();
    expect(await progress.epoch(0)).toBeUndefined();
    await progress.saveEpoch(2, { ...snapshot, epoch: 1 });
    await progress.saveEpoch(2, snapshot);
    const again = await open();
    const found = (await again.epoch(2))!;
    expect([...found.state].sort()).toEqual([...snapshot.state].sort());
    expect({ ...found, state: snapshot.state }).toEqual(snapshot);
    expect(await again.epoch(1)).toBeUndefined();
    await again.finishBlock(2, block);
    expect(await again.epoch(2)).toBeUndefined();
  });

  it('comes back with what learning stops by', async () => {
    const best = { score: -1 / 3, state: new Map([['lora', normals([40], 'best').data]]) };
    for (const stop of [
      { stopped: 1, waited: 1, best },
      { stopped: 2, waited: 0, best: undefined },
    ]) {
      await (await open()).saveEpoch(2, { ...snapshot, stop });
      const found = (await (await open()).epoch(2))!;
      expect(found.stop).toEqual(stop);
      expect(found.state.size).toBe(snapshot.state.size);
    }
  });

  it('is what resuming would find: whole blocks in a row, and epochs of the next', async () => {
    const progress = await open();
    expect(await progressMade(out)).toEqual({ blocks: 0, epochs: 0 });
    await progress.saveEpoch(0, snapshot);
    expect(await progressMade(out)).toEqual({ blocks: 0, epochs: 3 });
    await progress.finishBlock(0, block);
    expect(await progressMade(out)).toEqual({ blocks: 1, epochs: 0 });
    await progress.finishBlock(2, block);
    expect(await progressMade(out)).toEqual({ blocks: 1, epochs: 0 });
  });

  it('is refused where it has changed since, and named to be deleted', async () => {
    const progress = await open();
    await progress.finishBlock(0, block);
    await progress.saveEpoch(1, snapshot);
    for (const [name, load] of [
      ['block-0.safetensors', () => progress.block(0)],
      ['epoch.safetensors', () => progress.epoch(1)],
    ] as const) {
      const file = join(`${out}.partial`, name);
      const bytes = await readFile(file);
      await writeFile(file, Buffer.concat([bytes.subarray(0, -1), Buffer.of(bytes.at(-1)! ^ 1)]));
      await expect(load()).rejects.toThrow(UserError);
      await expect(load()).rejects.toThrow(`Delete ${file} to compute it again.`);
    }
  });
});
