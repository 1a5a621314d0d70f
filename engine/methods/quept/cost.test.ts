import { describe, expect, it } from 'vitest';
import { TINY_LLAMA, TINY_VIT } from '../../../test/fixtures.js';
import { workOf } from '../../graph/work.js';
import { ModelConfig } from '../../models/config.js';
import { listPart } from '../../models/listing.js';
import { partsOf, type Part } from '../../models/model.js';
import { buildModel } from '../../models/registry.js';
import { rotateModel } from '../../transforms/rotation/checkpoint.js';
import { calibrationCost } from './cost.js';
import { layoutOf } from './layout.js';
import { DEFAULT_TEXT, DEFAULT_TEXT_ACTIVATIONS, DEFAULT_VIT, type QueptOptions } from './options.js';
import { stepGraph } from './step.js';

function checkpointOf(config: Readonly<Record<string, unknown>>) {
  const model = buildModel(new ModelConfig(config, 'config.json'), {});
  const listings = new Map(partsOf(model).map((part) => [part, listPart(part)]));
  return { name: 'tiny', model, listing: (part: Part) => listings.get(part)! };
}

const SAMPLES = 64;
const vit: QueptOptions = { ...DEFAULT_VIT, samples: SAMPLES, rangeSamples: 32, batch: 16, epochs: 3 };
const text: QueptOptions = { ...DEFAULT_TEXT, samples: SAMPLES, rangeSamples: 32, batch: 16, epochs: 3 };
const flops = (checkpoint: ReturnType<typeof checkpointOf>, options: QueptOptions, samples = SAMPLES) =>
  calibrationCost(checkpoint, options, samples).work.flops;

describe('the cost of a calibration', () => {
  it('grows by its steps with every epoch', () => {
    const checkpoint = checkpointOf(TINY_VIT);
    const [part] = checkpoint.model.blocks as [Part];
    const layout = layoutOf(part, checkpoint.listing(part), vit);
    const step = workOf(
      stepGraph(part, layout, { batch: 16, loss: vit.loss, apart: vit.apart, ownStreams: true }),
    );
    const more = flops(checkpoint, { ...vit, epochs: 4 }) - flops(checkpoint, vit);
    expect(more).toBe((SAMPLES / 16) * checkpoint.model.blocks.length * step.flops);
  });

  it.each([
    ['pictures', TINY_VIT, vit],
    ['text', TINY_LLAMA, text],
  ])('grows with depth alike for every block, of %s', (_, config, options) => {
    const at = (blocks: number) => flops(checkpointOf({ ...config, num_hidden_layers: blocks }), options);
    const block = at(2) - at(1);
    expect(block).toBeGreaterThan(0);
    expect(at(9) - at(2)).toBe(7 * block);
  });

  it('grows with every further sample alike', () => {
    const checkpoint = checkpointOf(TINY_LLAMA);
    // Whole batches, those held out too; adapters are computed in batches of their own size.
    const even = { ...text, heldOut: 0.25, computed: false };
    const [one, two, three] = [1, 2, 3].map((n) => calibrationCost(checkpoint, even, n * SAMPLES));
    expect(two!.activations).toBe(2 * one!.activations);
    expect(two!.tensors).toBe(one!.tensors);
    expect(two!.work.flops).toBeGreaterThan(one!.work.flops);
    expect(three!.work.flops - two!.work.flops).toBe(two!.work.flops - one!.work.flops);
  });

  it.each<[string, Partial<QueptOptions>]>([
    ['AWQ', { smooth: false }],
    ['the clip search', { clipStart: 'paper' }],
    ['computed adapters', { computed: false }],
    ['the guard', { guard: false }],
  ])('counts %s', (_, without) => {
    const checkpoint = checkpointOf(TINY_LLAMA);
    const work = (options: QueptOptions) => calibrationCost(checkpoint, options, SAMPLES).work;
    expect(work({ ...text, ...without }).elements).toBeLessThan(work(text).elements);
  });

  it('counts what is looked at on the host: every range at every bit-width, and no more samples than the start takes', () => {
    const checkpoint = checkpointOf(TINY_VIT);
    const looked = (more: Partial<QueptOptions>, samples = SAMPLES) =>
      calibrationCost(checkpoint, { ...vit, ...more }, samples).looked;
    expect(looked({ percentiles: [0.9, 0.99, 1] }) / looked({ percentiles: [1] })).toBe(3);
    expect(looked({}, 4 * SAMPLES)).toBe(looked({}));
    expect(looked({ rangeSamples: 64 }) / looked({})).toBe(2);
    expect(calibrationCost(checkpointOf(TINY_LLAMA), text, SAMPLES).looked).toBe(0);
  });

  it('counts what a rotation adds to every pass', () => {
    const checkpoint = checkpointOf(TINY_LLAMA);
    const options = { ...DEFAULT_TEXT_ACTIVATIONS, samples: SAMPLES, batch: 16, epochs: 1 };
    const turned = { ...checkpoint, ...rotateModel(checkpoint, { keys: true }) };
    expect(flops(turned, options)).toBeGreaterThan(flops(checkpoint, options));
  });
});
