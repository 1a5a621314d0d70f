/** Of each bit-width the stage whose weights measured best on samples that none of them has seen. */
import { passBlocks, plainParts, type OpenPart } from '../../execution/part-by-part.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import type { ModelInputs } from '../../execution/sample-store.js';
import type { QuantizedSource } from '../../execution/source.js';
import { blocksOf } from '../../models/model.js';
import type { CalibrationContext } from '../method.js';
import type { Stage } from './kept.js';
import { layoutAt, type DirectSettings } from './settings.js';
import { ownWidths, stageReader } from './streams.js';
import { batchOf } from './walk.js';

/**
 * The divergence from full precision of each stage's weights, at every bit-width that several stages have; nothing is
 * measured where there is one.
 * @returns the best stage of each of these bit-widths
 */
export async function chooseStages(
  context: CalibrationContext,
  settings: DirectSettings,
  stages: readonly Stage[],
  inputs: ModelInputs,
  status: (done: number) => void,
): Promise<ReadonlyMap<number, Stage>> {
  const chosen = new Map<number, Stage>();
  if (stages.length === 1) return chosen;
  const { programs, checkpoint, cache, distance, hooks } = context;
  const { model } = checkpoint;
  const widths = ownWidths(settings);
  const count = 1 + widths.length * stages.length;
  let passes = 0;
  const pass = async (open: OpenPart) => {
    const store = await passBlocks(programs, model, open, inputs, {
      ...{ cache, signal: hooks.signal, batch: batchOf(model, inputs.samples) },
      status: (done) => status((passes + done) / count),
    });
    passes++;
    return store;
  };
  const plain = plainParts(programs, checkpoint);
  const reference = { store: await pass(plain), head: await plain(model.head) };
  try {
    for (const bits of widths) {
      let least = Infinity;
      for (const stage of stages) {
        const open = quantizedParts(programs, stageSource(context, settings, stage), bits);
        const own = { store: await pass(open), head: await open(model.head) };
        const found = await distance(programs, model, reference, own, hooks.signal).finally(() => {
          own.head.dispose();
          own.store.release();
        });
        if (found < least || !chosen.has(bits)) [least] = [found, chosen.set(bits, stage)];
      }
    }
    return chosen;
  } finally {
    reference.head.dispose();
    reference.store.release();
  }
}

/** The weights of a stage, as a set of them would have them. */
function stageSource(context: CalibrationContext, settings: DirectSettings, stage: Stage): QuantizedSource {
  const { checkpoint } = context;
  const read = stageReader(context, settings, stage);
  const layers = new Map(
    blocksOf(checkpoint.model).flatMap((part) =>
      checkpoint.listing(part).linears.map((layer) => [part.prefix + layer.name, { part, layer }] as const),
    ),
  );
  return {
    offered: ownWidths(settings),
    checkpoint,
    cache: undefined,
    fixedBits: () => undefined,
    form: (name, bits) => {
      const { in: columns, out } = layers.get(name)!.layer;
      const { groupSize } = layoutAt(settings, bits);
      return { kind: 'grid', in: columns, out, bits, groupSize };
    },
    weight: (name, bits) => {
      const { part, layer } = layers.get(name)!;
      return read(part, layer, bits);
    },
    activation: () => Promise.resolve(undefined),
  };
}
