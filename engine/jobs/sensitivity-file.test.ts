import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { complaint, useTemporaryFolder } from '../formats/testing.js';
import { discardMeasured, measuredLayers, openMeasured } from './sensitivity-file.js';

const at = useTemporaryFolder();
const identity = {
  model: { family: 'vit', name: 'vit', fingerprint: 'a'.repeat(64) },
  tensors_sha256: 'b'.repeat(64),
  calibration: { name: 'pictures', samples: 8, fingerprint: 'c'.repeat(64) },
  bits: [4, 8],
  layers: ['q', 'k', 'v'],
};

describe('an unfinished measurement', () => {
  it('goes on where it is resumed, and is not overwritten where it is not', async () => {
    const out = at('sensitivity.json');
    const first = await openMeasured(out, identity, false);
    await first.add([2, 1]);
    await first.add([4, 3]);
    const kept = await readFile(`${out}.partial`, 'utf8');
    expect(await measuredLayers(out)).toBe(2);

    expect(await complaint(() => openMeasured(out, identity, false))).toBe(
      `${out}.partial holds an unfinished measurement; continue it with --resume, or delete it to start again.`,
    );
    expect(await readFile(`${out}.partial`, 'utf8')).toBe(kept);

    const { costs } = await openMeasured(out, identity, true);
    expect(costs).toEqual([
      [2, 1],
      [4, 3],
    ]);
    await discardMeasured(out);
    expect(await measuredLayers(out)).toBeUndefined();
    expect((await openMeasured(out, identity, false)).costs).toEqual([]);
  });

  it('of something else is refused, and so is one that is no such file', async () => {
    const out = at('sensitivity.json');
    await (await openMeasured(out, identity, false)).add([2, 1]);
    const other = { ...identity, tensors_sha256: 'd'.repeat(64) };
    expect(await complaint(() => openMeasured(out, other, true))).toMatch(
      /measured on something else; resume/,
    );
    await writeFile(`${out}.partial`, '{"identity":');
    expect(await complaint(() => openMeasured(out, identity, true))).toContain('sensitivity.json.partial');
  });
});
