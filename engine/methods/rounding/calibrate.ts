/** Rounding's calibration: ranges of activations, where they have static grids. */
import { percentileStart, PERCENTILES } from '../../execution/activation-ranges.js';
import { batchesOf } from '../../execution/batches.js';
import { observe } from '../../execution/observe.js';
import { openPlainPart } from '../../execution/part.js';
import { entering, passPart } from '../../execution/part-by-part.js';
import type { Samples, SampleStore } from '../../execution/sample-store.js';
import type { WrittenTensor } from '../../formats/set.js';
import { blocksOf, chainsOf, streamFeatures, type Part } from '../../models/model.js';
import { MAX_BITS } from '../../plans/bits.js';
import { rotateModel } from '../../transforms/rotation/checkpoint.js';
import { drawSigns, signsToText } from '../../transforms/rotation/signs.js';
import { gridTensors } from '../activation-grids.js';
import { setLayers } from '../layers.js';
import type { Artefact, CalibrationContext } from '../method.js';
import type { RoundingSettings } from './settings.js';

export async function calibrate(context: CalibrationContext, settings: RoundingSettings): Promise<Artefact> {
  const { mode, offered, seed, rotate, kvBits, activations, groupSize } = settings;
  const isStatic = mode === 'weight-activation' && activations === 'static';
  const keys = kvBits <= MAX_BITS;
  const { checkpoint } = context;
  const outline = rotate ? rotateModel(checkpoint, { keys }) : checkpoint;
  return {
    embedding_bits: settings.embeddingBits,
    head_bits: settings.headBits,
    ...(keys && { kv_bits: kvBits }),
    transforms: rotate
      ? [{ name: 'rotation', signs: signsToText(drawSigns(streamFeatures(checkpoint.model), seed)), keys }]
      : [],
    layers: setLayers(outline, offered, (bits) => (bits <= 4 ? groupSize : -1)),
    method: {
      activations,
      products: isStatic
        ? blocksOf(checkpoint.model).flatMap((part) =>
            checkpoint.listing(part).operands.map((name) => part.prefix + name),
          )
        : [],
    },
    tensors: isStatic ? await activationGrids(context, settings) : new Map(),
  };
}

/** A scale and a zero point for every quantized activation and bit-width. */
async function activationGrids(
  { programs, checkpoint, set, cache, hooks }: CalibrationContext,
  { offered, batch: most }: RoundingSettings,
): Promise<Map<string, WrittenTensor>> {
  const { inputs } = set!;
  const { model, listing } = checkpoint;
  const blocks = blocksOf(model);
  const batch = Math.min(most, inputs.samples);
  const tensors = new Map<string, WrittenTensor>();
  /** What towers yield, and what else feeds side ports. */
  const side = new Map<string, Samples>(inputs.side);
  const stores: SampleStore[] = [];
  const pass = async (part: Part, source: Samples, into?: SampleStore) => {
    const plain = await openPlainPart(programs, part, await checkpoint.read(part));
    const run = { part, runnable: plain, source, side, batch };
    return passPart(programs, run, into, cache, { signal: hooks.signal }).finally(() => plain.dispose());
  };
  for (const chain of chainsOf(model)) {
    let store = await pass(chain.stem, entering(chain, inputs, side));
    for (const part of chain.blocks) {
      const index = blocks.indexOf(part);
      hooks.status({
        done: index / blocks.length,
        phase: `block ${index + 1}/${blocks.length}`,
        place: index,
      });
      const { linears, operands } = listing(part);
      const owners = [...new Set(linears.map(({ input }) => input)), ...operands];
      const batches = batchesOf(part, store, side, inputs.samples, batch);
      const seen = await observe(programs, part, owners, await checkpoint.read(part), batches, batch);
      for (const owner of owners)
        percentileStart(seen.get(owner)!.data, offered, PERCENTILES).forEach((grid, i) => {
          for (const [name, { shape, data }] of gridTensors(part.prefix + owner, grid, offered[i]!))
            tensors.set(name, { shape, data: () => Promise.resolve(data) });
        });
      store = await pass(part, store, store);
    }
    stores.push(store);
    if (chain.name !== undefined) side.set(chain.name, store);
  }
  for (const store of stores) store.release();
  return tensors;
}
