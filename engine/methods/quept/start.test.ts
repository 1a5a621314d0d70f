import { describe, expect, it } from 'vitest';
import { maxDifference } from '../../../test/support.js';
import { observe } from '../../execution/observe.js';
import { openElasticPart } from '../../execution/quantized-part.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { rescaledParameters } from '../../transforms/rescaling.js';
import type { BlockContext } from './block.js';
import { PAPER_LOGIT } from './clip-start.js';
import { layoutOf } from './layout.js';
import { bitGroups, PAPER_TEXT, PAPER_VIT, type QueptOptions } from './options.js';
import { startActivations, startBlock } from './start.js';
import {
  normals,
  roundedBlock,
  storeOf,
  tinyBlock,
  tinyDecoderBlock,
  usePrograms,
  type Block,
} from '../../execution/testing.js';

const programs = usePrograms();
/** Whole batches: others are not looked at. */
const SAMPLES = 8;
const small = { groups: bitGroups([[7, 8], [4]], 2), batch: 4, percentiles: [1] };
const settings: Record<string, [Block, QueptOptions]> = {
  'pictures, norms folded': [tinyBlock(), { ...PAPER_VIT, ...small }],
  'pictures, norms folded and then smoothed': [tinyBlock(), { ...PAPER_VIT, ...small, smooth: true }],
  'text, smoothed': [tinyDecoderBlock(), { ...PAPER_TEXT, ...small, smooth: true }],
  'text in activations too, smoothed': [
    tinyDecoderBlock(),
    { ...PAPER_TEXT, ...small, mode: 'weight-activation', groupSize: -1, smooth: true },
  ],
};

function inputsOf({ part }: Block) {
  return normals(part.inputShape(SAMPLES), 'x');
}

async function started(block: Block, options: QueptOptions) {
  const { part, listing, parameters } = block;
  const layout = layoutOf(part, listing, options);
  // What a calibration has beside its block is not asked for.
  const context = { options, part, listing, layout, parameters } as unknown as BlockContext;
  const store = await storeOf(inputsOf(block).data, SAMPLES);
  return { layout, tensors: await startBlock(programs, context, store) };
}

async function run(block: Block, parameters: ReadonlyMap<string, HostTensor>) {
  const { data, shape } = inputsOf(block);
  const part = await openElasticPart(programs, block.part, block.listing, roundedBlock({ parameters }));
  const y = await programs.runtime.read(await part.run(programs.runtime.tensor(data, shape), SAMPLES));
  part.dispose();
  return y.slice();
}

describe.each(Object.entries(settings))('the start of a block of %s', (_, [block, options]) => {
  it('computes what the block did', async () => {
    const { tensors } = await started(block, options);
    const changed = rescaledParameters(block.parameters, tensors);
    expect(changed).not.toEqual(block.parameters);
    expect(maxDifference(await run(block, changed), await run(block, block.parameters))).toBeLessThan(1e-3);
  });

  it('has grids for what quantizers then read', async () => {
    const { layout, tensors } = await started(block, options);
    const own = rescaledParameters(block.parameters, tensors);
    const { data } = inputsOf(block);
    const observed = await observe(programs, block.part, layout.quantizers, own, [{ x: data }], SAMPLES);
    const grids = startActivations(block.listing, layout, own, observed, options, false);
    expect([...tensors.keys()].filter((name) => name.includes('.act_'))).toHaveLength(grids.size);
    for (const [name, grid] of grids)
      if (name.includes('.act_zero.'))
        expect(Math.abs(tensors.get(name)!.data[0]! - grid.data[0]!), name).toBeLessThanOrEqual(1);
      else expect(tensors.get(name)!.data[0]! / grid.data[0]!, name).toBeCloseTo(1, 3);
  });

  it('has adapters without effect, drawn for each layer and seed, and clip logits of every bit-width', async () => {
    const { layout, tensors } = await started(block, options);
    const again = await started(block, options);
    const other = await started(block, { ...options, seed: 1 });
    const drawn = layout.layers.map(({ name }) => tensors.get(`${name}.lora_A`)!.data);
    for (const [i, { name, in: columns }] of layout.layers.entries()) {
      expect(tensors.get(`${name}.lora_B`)!.data.every((b) => b === 0)).toBe(true);
      expect(drawn[i]!.every((a) => Math.abs(a) <= 1 / Math.sqrt(columns))).toBe(true);
      expect(again.tensors.get(`${name}.lora_A`)!.data).toEqual(drawn[i]);
      expect(other.tensors.get(`${name}.lora_A`)!.data).not.toEqual(drawn[i]);
      for (const bits of [8, 7, 4])
        for (const side of ['upper', 'lower']) {
          const { data } = tensors.get(`${name}.clip_${side}.${bits}`)!;
          expect(data.every((logit) => logit === PAPER_LOGIT)).toBe(true);
        }
    }
    expect(new Set(drawn.map((a) => a[0])).size).toBe(drawn.length);
  });
});
