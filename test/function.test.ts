/**
 * Unquantized, an adapter set is the model's function, whatever family, method, mode and transforms: what is folded, scaled
 * or turned on the way cancels out. Combinations that cannot be are refused in one line, before any work.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../engine/errors.js';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { openPlainModel, type RunnableModel } from '../engine/execution/model.js';
import { openElasticModel } from '../engine/execution/quantized-model.js';
import { openSampleCache, samplesIn } from '../engine/execution/sample-store.js';
import { calibrate } from '../engine/methods/calibrate.js';
import type { CalibrationSet } from '../engine/methods/method.js';
import { normals, usePrograms } from '../engine/execution/testing.js';
import { methods } from '../engine/methods/registry.js';
import { resolveRequest } from '../engine/methods/request.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { inputSize } from '../engine/models/model.js';
import { families } from '../engine/models/registry.js';
import { temporaryFolder, writeRandomModel } from './fixtures.js';
import { maxDifference } from './support.js';
import { TINY } from './tiny.js';

const programs = usePrograms();
const SAMPLES = 4;
const TOKENS = 6;

let folder: string;
let cleanUp: () => Promise<void>;
const checkpoints = new Map<string, Checkpoint>();
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  for (const [family, config] of Object.entries(TINY)) {
    await writeRandomModel(join(folder, family), config);
    const isText = 'vocab_size' in config;
    checkpoints.set(family, await openCheckpoint(join(folder, family), isText ? { tokens: TOKENS } : {}));
  }
});
afterAll(async () => {
  for (const checkpoint of checkpoints.values()) await checkpoint.close();
  await cleanUp();
});

/** The calibration set, and the same samples as a model takes them. */
function samplesOf({ model }: Checkpoint) {
  const isText = model.stem.inputType === 'int64';
  const size = SAMPLES * inputSize(model.stem);
  const data = isText
    ? BigInt64Array.from({ length: size }, (_, i) => BigInt((i * 7 + 3) % 11))
    : normals([size], 'samples').data;
  const inputs = isText
    ? samplesIn(data as BigInt64Array, SAMPLES)
    : samplesIn(data as Float32Array, SAMPLES);
  const set: CalibrationSet = { inputs, name: 'samples', fingerprint: '0'.repeat(64) };
  return { set, x: programs.runtime.tensor(data, model.stem.inputShape(SAMPLES)) };
}

/** Every choice of the options that change weights or activations, for a method that has them. */
const CHANGES = {
  smooth: ['on', 'off', undefined],
  rotation: ['on', 'off', undefined],
  kvBits: [4, undefined],
} as const;
type Change = Readonly<Record<string, string | number>>;

function changesOf(options: object): Change[] {
  let all: Change[] = [{}];
  for (const [key, values] of Object.entries(CHANGES))
    if (Object.hasOwn(options, key))
      all = all.flatMap((before) =>
        values.map((value): Change => (value === undefined ? before : { ...before, [key]: value })),
      );
  return all;
}

const MODES = ['weight-activation', 'weight-only'] as const;
/**
 * As few steps as there can be, what is learned is not at issue, but must not change the function either; and all ways that
 * there are.
 */
const OPTIONS = {
  quept: { epochs: 1, batch: 4, rank: 1 },
  direct: { effort: 'high' },
  sliderquant: { epochs: 2, fill: 2 },
} as Readonly<Record<string, object>>;

/** Families of which every combination is tried. The others are made of the same parts, and tried where they differ. */
const WHOLE = ['vit', 'deit', 'llama', 'mistral', 'qwen2', 'qwen3'];
const PART = {
  methods: ['quept', 'direct', 'rounding'],
  changes: ['{}', '{"kvBits":4}', '{"smooth":"on"}', '{"smooth":"on","rotation":"on"}'],
};

const cases = methods.flatMap((method) =>
  Object.keys(TINY).flatMap((family) =>
    MODES.flatMap((mode) =>
      changesOf(method.options)
        .filter(
          (change) =>
            WHOLE.includes(family) ||
            (PART.methods.includes(method.name) && PART.changes.includes(JSON.stringify(change))),
        )
        .map((change) => ({ method: method.name, family, mode, change })),
    ),
  ),
);

/** Combinations that were calibrated, and those that were refused, by family. */
const done = new Map<string, { kept: number; refused: number }>();

it('covers every family', () =>
  expect(Object.keys(TINY).sort()).toEqual(families.map((f) => f.modelType).sort()));

describe.each(Object.keys(TINY))('%s', (family) => {
  it.each(cases.filter((one) => one.family === family))(
    '$method, $mode, $change',
    async ({ method, mode, change }) => {
      const checkpoint = checkpoints.get(family)!;
      const counts = done.get(family) ?? { kept: 0, refused: 0 };
      done.set(family, counts);
      const out = join(folder, `${family}-set-${counts.kept}-${counts.refused}`);
      const request = {
        model: checkpoint.folder,
        method,
        mode,
        bits: [8, 3],
        options: { ...OPTIONS[method], ...change },
      };
      let resolved;
      try {
        resolved = resolveRequest(checkpoint, request);
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
        expect((error as Error).message).toMatch(/^[^\n]{10,240}\.$/);
        expect(existsSync(`${out}.partial`)).toBe(false);
        counts.refused++;
        return;
      }
      const { set, x } = samplesOf(checkpoint);
      const { settings } = resolved;
      const cache = await openSampleCache(Infinity);
      const asked = {
        checkpoint,
        ...resolved,
        out,
        resume: false,
        cache,
        distance: meanDivergence,
        engineVersion: '0',
      };
      await calibrate(programs, settings.samples > 0 ? { ...asked, set } : asked, {
        signal: new AbortController().signal,
        status: () => undefined,
        note: () => undefined,
      });
      counts.kept++;

      const opened = await openAdapterSet(out);
      const source = openSource(programs, checkpoint, opened);
      const plain = await openPlainModel(programs, checkpoint);
      const transformed = await openPlainModel(programs, source.checkpoint);
      const elastic = await openElasticModel(programs, source);
      const run = async (model: RunnableModel) => (await model.run(x, SAMPLES)).slice();
      const full = await run(plain);
      const scale = full.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0);
      expect(maxDifference(await run(transformed), full) / scale).toBeLessThan(2e-5);
      // Quantized it is another function, closer to the model's at more bits.
      const distance = async (bits: number) => {
        await elastic.use(bits);
        return maxDifference(await run(elastic), full) / scale;
      };
      const [fine, coarse] = [await distance(8), await distance(3)];
      expect(fine).toBeGreaterThan(0);
      expect(fine).toBeLessThan(coarse);
      // Keys and values at 4 bits cost what they do, whatever the rest has.
      // A token between two experts may change sides, and with it what a block yields.
      if (!('kvBits' in change)) expect(fine).toBeLessThan('num_experts' in TINY[family]! ? 0.3 : 0.1);
      for (const model of [plain, transformed, elastic]) model.dispose();
      await opened.close();
    },
  );

  it('is calibrated in most combinations, and refused where one would have no effect', () => {
    const { kept, refused } = done.get(family)!;
    expect(kept).toBeGreaterThanOrEqual(4);
    expect(refused).toBeGreaterThan(0);
  });
});
