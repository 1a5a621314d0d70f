/** Exported ONNX models in ONNX Runtime, and what the engine makes of the sets that they came of. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { expect } from 'vitest';
import { layerNames } from '../engine/execution/model.js';
import { openElasticModel, widthsOf } from '../engine/execution/quantized-model.js';
import { encodeOnnxModel, readOnnxModel, type OnnxModel } from '../engine/formats/onnx.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import type { Programs } from '../engine/runtime/programs.js';
import { exactly } from './exports.js';
import { maxDifference } from './support.js';

/** What the engine makes of a set's model. */
export async function logitsOfSet(
  programs: Programs,
  model: string,
  adapters: string,
  bits: number,
  data: Float32Array | BigInt64Array,
  shape: readonly number[],
): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(model);
  const set = await openAdapterSet(adapters);
  const elastic = await openElasticModel(programs, openSource(programs, checkpoint, set));
  const names = layerNames(checkpoint);
  await elastic.use(
    widthsOf(
      names,
      names.map(() => bits),
    ),
  );
  const input = programs.runtime.tensor(data, shape);
  const logits = (await elastic.run(input, shape[0]!)).slice();
  input.dispose();
  elastic.dispose();
  await set.close();
  await checkpoint.close();
  return logits;
}

/** The model in an exported folder as it was written, and running without rounding of what enters its products. */
export async function openExact(
  folder: string,
): Promise<{ written: OnnxModel; path: string; session: ort.InferenceSession }> {
  const [name] = (await readdir(join(folder, 'onnx'))).filter((each) => each.endsWith('.onnx'));
  const path = join(folder, 'onnx', name!);
  const written = await readOnnxModel(path);
  await writeFile(path, encodeOnnxModel(exactly(written)));
  return { written, path, session: await ort.InferenceSession.create(path) };
}

export const int64 = (values: readonly number[], shape: readonly number[]) =>
  new ort.Tensor('int64', BigInt64Array.from(values, BigInt), shape);

/** Logits of whole texts [batch, length], row by row, with heads of 16 channels, two of them of keys. */
export async function logitsOfTexts(
  session: ort.InferenceSession,
  ids: readonly number[],
  [batch, length]: readonly [number, number],
): Promise<Float32Array> {
  const caches = session.inputNames.filter((each) => each.startsWith('past_key_values.'));
  const { logits } = await session.run({
    input_ids: int64(ids, [batch, length]),
    attention_mask: int64(Array<number>(batch * length).fill(1), [batch, length]),
    position_ids: int64(
      ids.map((_, i) => i % length),
      [batch, length],
    ),
    ...Object.fromEntries(
      caches.map((each) => [each, new ort.Tensor('float32', new Float32Array(), [batch, 2, 0, 16])]),
    ),
  });
  return logits!.data as Float32Array;
}

/** Requires numbers that differ by no more than what the order of sums makes. */
export function expectSame(found: Float32Array, expected: Float32Array): void {
  const spread = Math.max(...expected) - Math.min(...expected);
  expect(spread).toBeGreaterThan(0.01);
  expect(maxDifference(found, expected) / spread).toBeLessThan(1e-4);
}
