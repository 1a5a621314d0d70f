import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/fixtures.js';
import { readSensitivity, writeSensitivity, type Sensitivity } from './sensitivity.js';

const digest = 'a'.repeat(64);
const good: Sensitivity = {
  ...{ schema_version: 1, engine_version: '0.1.0', tensors_sha256: digest },
  model: { family: 'vit', name: 'm', fingerprint: digest },
  calibration: { name: 'pictures', samples: 8, fingerprint: digest },
  kind: 'estimated',
  ...{ bits: [2, 4], layers: ['a', 'b'], costs: [[0.1, 1e-9], [2.5, 0]] }, // prettier-ignore
};

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());
const path = () => join(folder, 'sensitivity.json');

describe('sensitivity.json', () => {
  it('is read as it was written, the same bytes each time', async () => {
    await writeSensitivity(path(), good);
    const bytes = await readFile(path());
    expect(await readSensitivity(path())).toEqual(good);
    await writeSensitivity(path(), good);
    expect(await readFile(path())).toEqual(bytes);
  });

  it('has bits that are fractions, those that sets offer', async () => {
    const costs = [[1, 0.5, 0.1], [2, 1, 0]]; // prettier-ignore
    const fractions = { ...good, bits: [1.08, 2.3, 4], costs };
    await writeSensitivity(path(), fractions);
    expect(await readSensitivity(path())).toEqual(fractions);
  });

  it.each<[string, object, RegExp]>([
    ['another version', { schema_version: 2 }, /schema_version/],
    ['a cost below zero', { costs: [[0.1, -1], [0, 0]] }, /costs/], // prettier-ignore
    ['a cost that is not a number', { costs: [['x', 0], [0, 0]] }, /costs/], // prettier-ignore
    ['a row too few', { costs: [[0.1, 0]] }, /must have 2 rows of 2/],
    ['a cost too many', { costs: [[0.1, 0, 0], [0, 0, 0]] }, /must have 2 rows of 2/], // prettier-ignore
    ['bits that fall', { bits: [4, 2] }, /must ascend/],
    ['bits that are none', { bits: [2, 9] }, /bits/],
    ['less than a bit', { bits: [0.5, 2] }, /bits/],
    ['a layer twice', { layers: ['a', 'a'] }, /names one twice/],
    ['a digest that is none', { tensors_sha256: 'x' }, /64 hex digits/],
    ['no layers', { layers: [], costs: [] }, /layers/],
  ])('with %s is refused', async (_, change, message) => {
    await writeFile(path(), JSON.stringify({ ...good, ...change }));
    await expect(readSensitivity(path())).rejects.toThrow(message);
  });
});
