import { describe, expect, it } from 'vitest';
import { openPlainPart, type RunnablePart } from '../../execution/part.js';
import { runSamples } from '../../execution/part-by-part.js';
import { openElasticPart } from '../../execution/quantized-part.js';
import { everySample, NO_SOURCES } from '../../execution/sample-store.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { contentsOf, normals, storeOf, tinyBlock, usePrograms } from '../../execution/testing.js';
import type { BlockContext } from './block.js';
import { computedStart } from './computed-start.js';
import { layoutOf } from './layout.js';
import { bitGroups, DEFAULT_TEXT, settingsOf, type QueptOptions } from './options.js';
import { blockSource } from './source.js';
import { startBlock } from './start.js';

const programs = usePrograms();
const [SAMPLES, BATCH, SIZE] = [40, 8, 5 * 16];
const { signal } = new AbortController();
const own = tinyBlock();
const { part, listing, parameters } = own;

const options: QueptOptions = {
  ...DEFAULT_TEXT,
  groups: bitGroups([[8], [3], [2]], [2, 8, 16]),
  batch: BATCH,
  smooth: false,
  groupSize: -1,
};
const layout = layoutOf(part, listing, options);
const block: BlockContext = {
  ...{
    options,
    part,
    listing,
    layout,
    parameters,
    weights: undefined,
    side: NO_SOURCES,
    sides: layout.groups.map(() => NO_SOURCES),
  },
  context: {
    hooks: { signal, status: () => undefined, note: () => undefined },
  } as unknown as BlockContext['context'],
};

const plain = normals([SAMPLES * SIZE], 'plain').data;
/** What errors before the block have made of its inputs: they are smaller, and noisy. */
const lossy = normals([SAMPLES * SIZE], 'noise').data.map((x, i) => 0.8 * plain[i]! + 0.05 * x);

async function outputs(runnable: RunnablePart, data: Float32Array): Promise<Float32Array> {
  const store = await storeOf(data, SAMPLES);
  await runSamples(programs, { part, runnable, source: store, batch: BATCH }, everySample(store), store, {
    signal,
  });
  runnable.dispose();
  return contentsOf(store);
}

/** Mean square of what the block loses on samples that nothing was computed from. */
async function lost(tensors: NamedTensors, bits: number, inputs: Float32Array): Promise<number> {
  const full = await outputs(await openPlainPart(programs, part, parameters), plain);
  const source = blockSource(parameters, settingsOf(options), part, tensors);
  const elastic = await openElasticPart(programs, part, listing, source);
  await elastic.use(bits);
  const found = await outputs(elastic, inputs);
  let sum = 0;
  const first = 36 * SIZE;
  for (let i = first; i < full.length; i++) sum += (found[i]! - full[i]!) ** 2;
  return sum / (full.length - first);
}

const computed = async (start: NamedTensors, inputs: Float32Array) => {
  const streams = [
    await storeOf(plain, SAMPLES),
    await storeOf(inputs, SAMPLES),
    await storeOf(inputs, SAMPLES),
  ];
  return computedStart(programs, block, start, parameters, await storeOf(plain, SAMPLES), streams);
};

describe('computed adapters', () => {
  it.each([3, 2])(
    'make up for what the stream has lost at %i bits, and leave high groups as they were',
    async (bits) => {
      const start = await startBlock(programs, block, await storeOf(plain, SAMPLES));
      const found = await computed(start, lossy);
      expect(await lost(found, bits, lossy)).toBeLessThan(0.85 * (await lost(start, bits, lossy)));
      for (const { name, in: columns } of layout.layers) {
        const [a, before] = [found.get(`${name}.lora_A`)!, start.get(`${name}.lora_A`)!];
        expect(a.data.slice(0, 2 * columns)).toEqual(before.data.slice(0, 2 * columns));
        expect(found.get(`${name}.clip_upper.8`)).toEqual(start.get(`${name}.clip_upper.8`));
        expect(found.get(`${name}.lora_B`)!.data.every((x, i) => i % 16 >= 2 || x === 0)).toBe(true);
      }
    },
  );

  it('do nothing where nothing has been lost, and where no group is of few bits', async () => {
    const start = await startBlock(programs, block, await storeOf(plain, SAMPLES));
    const found = await computed(start, plain);
    const [{ name }] = layout.layers as [(typeof layout.layers)[0]];
    expect(found.get(`${name}.lora_B`)!.data.every((x) => x === 0)).toBe(true);
    const high = { ...block, layout: { ...layout, groups: layout.groups.slice(0, 1) } };
    const store = await storeOf(plain, SAMPLES);
    expect(await computedStart(programs, high, start, parameters, store, [store])).toEqual(start);
  });
});
