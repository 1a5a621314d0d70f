/** Against vectors of an independent PyTorch statement (`test/golden/README.md`). */
import { expect, it } from 'vitest';
import { maxDifference, readGolden } from '../../../test/support.js';
import { bitsPerWeight, formOf } from '../../quantized/form.js';
import { toFloats } from '../../quantized/weight.js';
import { splitWeight, thresholdsOf } from './split.js';

const vectors = await readGolden('adpq.safetensors');

it.each(['b4', 'b3', 'b2.short', 'none'])('golden vectors: %s', (name) => {
  const at = (key: string) => vectors.floats(`${name}.${key}`);
  const [bits, outliers, groupSize] = at('settings').data as unknown as [number, number, number];
  const weight = { ...at('W'), shape: [...at('W').shape] };
  const thresholds = thresholdsOf(weight, { outliers, threshold: 'matrix', groupSize });
  expect([...thresholds]).toEqual([...at('threshold').data]);
  const found = splitWeight(weight, thresholds, { bits, outlierBits: bits, groupSize, grid: 'symmetric' });
  const isOutlier = new Float32Array(weight.data.length);
  found.outliers!.rows.forEach((row, i) => {
    isOutlier[row * weight.shape[1]! + found.outliers!.columns[i]!] = 1;
  });
  expect(isOutlier).toEqual(at('outliers').data);
  expect(maxDifference(found.scale, at('scale').data)).toBeLessThan(1e-6);
  expect(maxDifference(toFloats(found), at('quantized').data)).toBeLessThan(1e-6);
  // Bits are counted in whole bytes of each tensor.
  const [exact] = at('bits').data;
  expect(Math.abs(bitsPerWeight(formOf(found)) - exact!)).toBeLessThan(16 / weight.data.length);
});
