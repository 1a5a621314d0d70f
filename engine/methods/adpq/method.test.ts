import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { outlineOf, temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../../test/fixtures.js';
import { maxDifference } from '../../../test/support.js';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { openPlainModel } from '../../execution/model.js';
import { openElasticModel } from '../../execution/quantized-model.js';
import { openSampleCache } from '../../execution/sample-store.js';
import { usePrograms } from '../../execution/testing.js';
import { complaint } from '../../formats/testing.js';
import { readSetConfig } from '../../formats/set.js';
import { openCheckpoint } from '../../models/checkpoint.js';
import { bitsPerWeight, formOf } from '../../quantized/form.js';
import { toFloats } from '../../quantized/weight.js';
import { calibrate } from '../calibrate.js';
import { resolveRequest } from '../request.js';
import { expectedTensors, openAdapterSet, openSource } from '../sets.js';

const programs = usePrograms();
const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };

let folder: string;
let cleanUp: () => Promise<void>;
const at = (name: string) => join(folder, name);
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('model'), TINY_LLAMA);
});
afterAll(() => cleanUp());

async function calibrated(name: string, options: Readonly<Record<string, unknown>> = {}) {
  const checkpoint = await openCheckpoint(at('model'), { tokens: 6 });
  const resolved = resolveRequest(checkpoint, {
    model: at('model'),
    method: 'adpq',
    bits: [8, 4, 3],
    options,
  });
  const cache = await openSampleCache(0);
  await calibrate(
    programs,
    {
      checkpoint,
      ...resolved,
      out: at(name),
      resume: false,
      cache,
      distance: meanDivergence,
      engineVersion: '0',
    },
    quiet,
  );
  const set = await openAdapterSet(at(name));
  const source = openSource(programs, checkpoint, set);
  return { checkpoint, set, source, close: () => Promise.all([set.close(), checkpoint.close()]) };
}

it('runs what its weights say, and takes what they take, from no data', async () => {
  const { checkpoint, set, source, close } = await calibrated('set');
  expect(set.config).not.toHaveProperty('calibration');
  const model = await openElasticModel(programs, source);
  await model.use(3);
  for (const name of Object.keys(set.config.layers))
    for (const bits of source.offered) {
      const weight = await source.weight(name, bits);
      expect(formOf(weight)).toEqual(source.form(name, bits));
      expect(bitsPerWeight(source.form(name, bits))).toBeGreaterThan(bits);
    }
  const x = programs.runtime.tensor(BigInt64Array.of(1n, 5n, 3n, 2n, 9n, 4n), [1, 6]);
  const logits = (await model.run(x, 1)).slice();
  // The same, where the weights of the checkpoint are those of the set.
  const merged = {
    ...checkpoint,
    read: async (part: Parameters<typeof checkpoint.read>[0]) => {
      const parameters = await checkpoint.read(part);
      for (const { name } of checkpoint.listing(part).linears) {
        if (!set.config.layers[part.prefix + name]) continue;
        const weight = await source.weight(part.prefix + name, 3);
        parameters.set(`${name}.weight`, { data: toFloats(weight), shape: weight.shape });
      }
      return parameters;
    },
  };
  const plain = await openPlainModel(programs, merged);
  expect(maxDifference((await plain.run(x, 1)).slice(), logits)).toBeLessThan(1e-5);
  model.dispose();
  plain.dispose();
  await close();
});

it('writes the same bytes again', async () => {
  for (const name of ['one', 'two']) await (await calibrated(name)).close();
  const bytes = (name: string) => readFile(join(at(name), 'adapter_config.json'));
  expect(await bytes('two')).toEqual(await bytes('one'));
});

it('has options that change weights and sizes', async () => {
  const measure = async (name: string, options: Readonly<Record<string, unknown>>) => {
    const { source, close } = await calibrated(name, options);
    const layer = 'model.layers.0.mlp.down_proj';
    const weight = await source.weight(layer, 3);
    await close();
    return { values: toFloats(weight), bits: bitsPerWeight(source.form(layer, 3)) };
  };
  const usual = await measure('usual', { groupSize: 12 });
  const changes = { outliers: 0.02, outlierBits: 8, threshold: 'group', grid: 'symmetric', groupSize: 8 };
  for (const [key, value] of Object.entries(changes)) {
    const found = await measure(key, { groupSize: 12, [key]: value });
    expect(maxDifference(found.values, usual.values), key).toBeGreaterThan(1e-4);
    expect(found.bits, key).not.toBe(usual.bits);
  }
});

it('refuses what it does not have, and what would have no effect', async () => {
  const outline = outlineOf('m', TINY_LLAMA);
  const resolve = (more: Omit<Parameters<typeof resolveRequest>[1], 'model'>) => () =>
    Promise.resolve(resolveRequest(outline, { model: 'm', method: 'adpq', ...more }));
  expect(await complaint(resolve({ mode: 'weight-activation' }))).toContain('weights alone');
  expect(await complaint(resolve({ bits: [1] }))).toContain('from 2 to 8');
  expect(await complaint(resolve({ data: '/texts' }))).toContain('needs no samples');
  expect(await complaint(resolve({ bits: [4], options: { outlierBits: 4 } }))).toContain('no effect');
  expect(await complaint(resolve({ options: { outliers: 0, threshold: 'group' } }))).toContain('no effect');
});

it('refuses a config whose counts are not those of its layers', async () => {
  await (await calibrated('counts')).close();
  const config = await readSetConfig(at('counts'));
  const changed = (counts: object) => ({ ...config, method: { ...config.method, counts } }) as never;
  const [name] = Object.keys(config.layers);
  const own = (config.method as unknown as { counts: object }).counts;
  const more = { elements: 1e6, groups: 1 };
  for (const counts of [{}, { ...own, [name!]: more }, { ...own, [name!]: null }])
    expect(await complaint(() => Promise.resolve(expectedTensors(changed(counts))))).toContain('counts');
  const sizes = { ...config.layers[name!]!, group_size: { 8: 8, 4: 4, 3: 4 } };
  const uneven = { ...config, layers: { ...config.layers, [name!]: sizes } };
  expect(await complaint(() => Promise.resolve(expectedTensors(uneven)))).toContain('one group size');
});
