/** A method that is one file and one line in the registry goes through all that jobs and sessions do, at 1 bit and at 2.5. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { listAdapters } from '../engine/catalog/adapters.js';
import { fingerprintCache } from '../engine/catalog/fingerprints.js';
import { allocate } from '../engine/cli/allocate.js';
import { layerNames, openPlainModel } from '../engine/execution/model.js';
import { openElasticModel, widthsOf } from '../engine/execution/quantized-model.js';
import { complaint } from '../engine/formats/testing.js';
import { readSetConfig } from '../engine/formats/set.js';
import { parseRequest } from '../engine/jobs/kinds/registry.js';
import { allocatePrecision, describePrecision } from '../engine/jobs/precision.js';
import { runCalibrate } from '../engine/jobs/runs/calibrate.js';
import { runEvaluate } from '../engine/jobs/runs/evaluate.js';
import { runExport } from '../engine/jobs/runs/export.js';
import { runComparePlans } from '../engine/jobs/runs/compare-plans.js';
import { runSensitivity } from '../engine/jobs/runs/sensitivity.js';
import type * as Registry from '../engine/methods/registry.js';
import { normals, usePrograms } from '../engine/execution/testing.js';
import { openAdapterSet, openSource, sizedModel } from '../engine/methods/sets.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import { decodeBits } from '../engine/plans/bits.js';
import { bytesOf, formOf } from '../engine/quantized/form.js';
import { quantizedBytes } from '../engine/quantized/size.js';
import { openElasticSession } from '../engine/sessions/elastic-session.js';
import { temporaryFolder, writeRandomModel, writeRandomPictures } from './fixtures.js';
import { maxDifference } from './support.js';

vi.mock('../engine/methods/registry.js', async (load) => {
  const registry = await load<typeof Registry>();
  const { signs } = await import('./signs.js');
  const all = [...registry.methods, signs];
  const readerNamed = (name: string) => registry.readerNamed(name, [...all, ...registry.readers]);
  return { methods: all, methodNamed: (name: string) => registry.methodNamed(name, all), readerNamed };
});

const programs = usePrograms();
const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
const place = { device: 'cpu', threads: 1 } as const;
const LAYERS = 12;

let folder: string;
let cleanUp: () => Promise<void>;
let pictures: string;
const at = (...path: string[]) => join(folder, ...path);
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('model'));
  pictures = await writeRandomPictures(at('pictures'), 32);
  const request = { model: at('model'), method: 'signs', out: at('set'), ...place };
  await runCalibrate(parseRequest('calibrate', request, 'request'), quiet);
});
afterAll(() => cleanUp());

it('is calibrated, kept and listed', async () => {
  const config = await readSetConfig(at('set'));
  expect(config).toMatchObject({ offered: [2.5, 1], mode: 'weight-only', method: { name: 'signs' } });
  const [found] = await listAdapters([folder], [at('model')], fingerprintCache(), quiet.signal);
  expect(found).toMatchObject({
    readable: true,
    matches: true,
    facts: { method: { name: 'signs', title: 'Signs' }, offered: [2.5, 1] },
  });
  const other = { model: at('model'), method: 'signs', out: at('other'), ...place };
  expect(await complaint(() => runCalibrate({ ...other, bits: [3] }, quiet))).toContain('not 3');
  expect(await complaint(() => runCalibrate({ ...other, data: pictures }, quiet))).toContain(
    'needs no samples',
  );
});

it('is sized as its weights are, wherever sizes are told', async () => {
  const checkpoint = await openCheckpoint(at('model'));
  const set = await openAdapterSet(at('set'));
  const source = openSource(programs, checkpoint, set);
  const table = await describePrecision({ model: at('model'), adapters: at('set') }, fingerprintCache());
  expect(table.bits).toEqual([1, 2.5]);
  for (const { name, bytes } of table.layers) {
    const weights = [await source.weight(name, 1), await source.weight(name, 2.5)];
    expect(weights.map(({ kind }) => kind)).toEqual(['binary', 'grid']);
    expect(bytes).toEqual(weights.map((weight) => bytesOf(formOf(weight))));
  }
  const sized = sizedModel(checkpoint, set.config);
  for (const bits of [1, 2.5]) expect(quantizedBytes(sized, bits)).toBe(quantizedBytes(source, bits));
  await set.close();
  await checkpoint.close();
});

it('is measured, planned and evaluated', async () => {
  const request = {
    model: at('model'),
    adapters: at('set'),
    data: pictures,
    samples: 16,
    exact: true,
    ...place,
  };
  expect(await runSensitivity(request, quiet)).toMatchObject({ layers: LAYERS, bits: [1, 2.5] });
  const params = { model: at('model'), adapters: at('set'), budget: 'average-bits' as const };
  const { offered, points } = await allocatePrecision(params, fingerprintCache());
  expect(offered).toEqual([1, 2.5]);
  expect(decodeBits(points[0]!.bits, offered)).toEqual(Array<number>(LAYERS).fill(1));
  const plan = at('small.precision.json');
  const measured = { model: at('model'), data: pictures, samples: 32, ...place };
  const found = await allocate(at('set'), { averageBits: 2, out: plan, ...measured }, (asked) =>
    runComparePlans(asked, quiet),
  );
  const { averageBits } = found;
  expect(found.measured).toMatchObject({ uniform: { bits: 1 }, samples: 32 });
  expect(found.measured!.cost).toBeLessThanOrEqual(found.measured!.uniform!.cost);
  expect(found.measured!.cost).toBeLessThanOrEqual(found.measured!.predictedBest);
  expect(averageBits).toBeLessThanOrEqual(2);
  expect(averageBits).toBeGreaterThan(1);
  const asked = { model: at('model'), adapters: [at('set')], data: pictures, ...place };
  const { rows } = await runEvaluate(asked, quiet);
  expect(rows.map(({ bits, method }) => [bits, method])).toEqual([
    ['fp', undefined],
    [2.5, 'signs'],
    [1, 'signs'],
  ]);
  expect(rows[2]!.kl!).toBeGreaterThan(rows[1]!.kl!);
  expect(rows[2]!.bytes).toBeLessThan(rows[1]!.bytes);
  const planned = await runEvaluate({ ...asked, plans: [plan] }, quiet);
  expect(planned.rows[1]).toMatchObject({ label: 'small', bits: averageBits, samples: 32 });
  expect(planned.rows[1]!.kl!).toBeCloseTo(found.measured!.cost, 6);
  expect(rows[2]!.kl!).toBeCloseTo(found.measured!.uniform!.cost, 6);
});

it('runs in a session, from layer to layer', async () => {
  const session = await openElasticSession(programs, at('model'), at('set'));
  const pixels = Buffer.from(Array.from({ length: 64 }, (_, i) => (i * 37) % 256));
  const png = await sharp(pixels, { raw: { width: 8, height: 8, channels: 1 } })
    .png()
    .toBuffer();
  const predict = () => session.predict({ picture: png.toString('base64') }, quiet.signal);
  const high = await predict();
  expect(await session.use(Array<number>(LAYERS).fill(1))).toBe(LAYERS);
  const low = await predict();
  expect(low.full).toEqual(high.full);
  expect(low.plan).not.toEqual(high.plan);
  expect(await session.use([2.5, ...Array<number>(LAYERS - 1).fill(1)])).toBe(1);
  expect(await complaint(() => session.use(Array<number>(LAYERS).fill(2)))).toContain('it has 2.5, 1');
  await session.close();
});

it('is exported', async () => {
  const checkpoint = await openCheckpoint(at('model'));
  const layers = layerNames(checkpoint);
  const bits = layers.map((_, i) => (i % 2 === 0 ? 1 : 2.5));
  const plan = at('mixed.precision.json');
  const named = Object.fromEntries(layers.map((name, i) => [name, bits[i]]));
  await writeFile(plan, JSON.stringify({ default: 1, layers: named }));
  const asked = { model: at('model'), adapters: at('set'), plan, out: at('out'), ...place };
  const result = await runExport({ ...asked, format: 'safetensors' }, quiet);
  expect(result.bits).toBe(1.75);
  const set = await openAdapterSet(at('set'));
  const exported = await openCheckpoint(at('out'));
  const elastic = await openElasticModel(programs, openSource(programs, checkpoint, set));
  await elastic.use(widthsOf(layers, bits));
  const plain = await openPlainModel(programs, exported);
  const x = programs.runtime.tensor(normals([2, 64], 'pixels').data, [2, 1, 8, 8]);
  const expected = (await elastic.run(x, 2)).slice();
  expect(maxDifference(await plain.run(x, 2), expected)).toBeLessThan(1e-5);
  for (const model of [elastic, plain]) model.dispose();
  for (const opened of [set, exported, checkpoint]) await opened.close();
  expect(await readFile(at('out', 'config.json'))).toEqual(await readFile(at('model', 'config.json')));
});
