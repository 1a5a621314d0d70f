/** Exports of every family of language models: a checkpoint that computes what the set does, or a line that says why not. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPlainModel } from '../engine/execution/model.js';
import { openElasticModel } from '../engine/execution/quantized-model.js';
import { usePrograms } from '../engine/execution/testing.js';
import { float32Checkpoint } from '../engine/exporters/merged.js';
import { exporters } from '../engine/exporters/registry.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import type { LanguageModel } from '../engine/models/model.js';
import { makeRoundingSet, withExportContext } from './exports.js';
import { temporaryFolder, writeRandomModel } from './fixtures.js';
import { maxDifference } from './support.js';
import { TINY } from './tiny.js';

const programs = usePrograms();
const BITS = 4;
const IDS = [3, 1, 4, 1, 5, 9];

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

const families = Object.entries(TINY).filter(([, config]) => 'vocab_size' in config);

it.each(families)('%s', async (family, config) => {
  const [model, adapters, out] = ['model', 'set', 'out'].map((name) => join(folder, family + name)) as [
    string,
    string,
    string,
  ];
  await writeRandomModel(model, config);
  await makeRoundingSet(programs, model, adapters);
  await withExportContext(programs, model, adapters, BITS, async (context) => {
    const { layout, layersAre } = context.original.model as LanguageModel;
    for (const exporter of exporters) {
      const refusal = exporter.refuse(context);
      if (refusal !== undefined) expect(refusal).toMatch(/^[^\n]{10,240}\.$/);
      // Formats that describe the network know LLaMA's alone, and those of packed layers linear modules.
      if (['gguf', 'onnx'].includes(exporter.name) && !layout) expect(refusal).toBeDefined();
      if (['compressed-tensors', 'gptq', 'awq'].includes(exporter.name) && layersAre !== undefined)
        expect(refusal).toContain(layersAre);
    }
    await float32Checkpoint.write(context, out);
    const exported = await openCheckpoint(out);
    expect(exported.warnings).toEqual([]);
    const [plain, full] = [
      await openPlainModel(programs, exported),
      await openPlainModel(programs, context.original),
    ];
    const elastic = await openElasticModel(programs, context.source);
    await elastic.use(BITS);
    const x = programs.runtime.tensor(BigInt64Array.from(IDS, BigInt), [1, IDS.length]);
    const expected = (await elastic.run(x, 1)).slice();
    expect(maxDifference(await plain.run(x, 1), expected)).toBeLessThan(1e-4);
    expect(maxDifference(await full.run(x, 1), expected)).toBeGreaterThan(1e-3);
    for (const opened of [plain, full, elastic]) opened.dispose();
    await exported.close();
  });
});
