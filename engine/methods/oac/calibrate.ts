/** Output-adaptive calibration (Edalati et al. 2025) of a whole model, last block first, all bit-widths at once. */
import { UserError } from '../../errors.js';
import {
  drawLabels,
  labelledRows,
  nextTokens,
  replaceByGradient,
  type Labels,
} from '../../execution/loss.js';
import { sweepBack, type BlockGradients } from '../../execution/reverse-sweep.js';
import type { SampleSource, SampleStore } from '../../execution/sample-store.js';
import { byInput } from '../../models/listing.js';
import { blocksOf } from '../../models/model.js';
import { keptWeight, writtenTensors } from '../weight-set.js';
import { setLayers } from '../layers.js';
import type { Artefact, CalibrationContext } from '../method.js';
import { blockFile, type KeptTensor, type Notes } from '../progress.js';
import { batchOf } from '../walk.js';
import {
  countOf,
  factorLayer,
  groupSizeOf,
  roundLayers,
  unitsOf,
  type FactoredLayer,
  type LayerHessian,
} from './backends.js';
import { formsOf } from './config.js';
import type { OacSettings } from './settings.js';
import { energyOf, oacSums } from './sums.js';

/** Share of a calibration that passes over data are of it. */
const PASSES = 0.9;

/**
 * Quantizes the weights of all blocks at every bit-width by Hessians of the full-precision model, of which only a block's are
 * held at once. Embedding, head, norms and biases stay as they are. What was interrupted passes the data again, but adds up and
 * rounds only what it had not.
 */
export async function calibrate(context: CalibrationContext, settings: OacSettings): Promise<Artefact> {
  const { programs, checkpoint, cache, set, progress, hooks } = context;
  const { signal } = hooks;
  const { model } = checkpoint;
  const { inputs } = set!;
  const blocks = model.blocks.length;
  let [passed, rounded] = [0, 0];
  const status = () =>
    hooks.status({
      done: PASSES * passed + ((1 - PASSES) * rounded) / blocks,
      // The last block is the first to be done.
      phase: rounded === 0 ? 'forward' : `back, block ${Math.max(1, blocks - rounded)}/${blocks}`,
      place: rounded,
    });
  const build = oacSums(settings);
  const isDone = ({ index }: BlockGradients) => progress.has(blockFile(index));
  await sweepBack(
    programs,
    {
      checkpoint,
      inputs,
      cache,
      batch: batchOf(model, inputs.samples),
      differentiate: async (store, hooks) =>
        replaceByGradient(programs, checkpoint, store, await labelsOf(context, settings, store), hooks),
    },
    {
      build: (graph, layers, block) => (isDone(block) ? new Map() : build(graph, layers, block)),
      done: async (block, sums) => {
        if (!isDone(block)) {
          const { tensors, notes } = await roundBlock(context, settings, block, sums);
          await progress.save(blockFile(block.index), tensors, notes);
        }
        rounded++;
        status();
      },
    },
    {
      signal,
      status: (done) => {
        passed = done;
        status();
      },
    },
  );
  const layers = setLayers(checkpoint, settings.offered, (bits) => groupSizeOf(settings, bits));
  const method = {
    backend: settings.backend,
    hessian: settings.hessian,
    labels: settings.labels,
    damping: settings.damping,
    ...(settings.groupSize !== undefined && { group_size: settings.groupSize }),
    ...(settings.backend !== 'gptq' && { counts: await countsOf(context, settings) }),
  };
  const place = (bits: number, index: number, layer: string) => ({
    file: blockFile(index),
    name: `${layer}.${bits}`,
  });
  return {
    embedding_bits: 16,
    head_bits: 16,
    transforms: [],
    layers,
    method,
    tensors: writtenTensors(
      checkpoint,
      settings.offered,
      formsOf({ method: { name: 'oac', ...method }, layers }),
      progress,
      place,
    ),
  };
}

/** What blocks' files note of every layer at each bit-width. */
async function countsOf(
  { checkpoint: { model, listing }, progress }: CalibrationContext,
  { offered }: OacSettings,
): Promise<Record<string, Record<string, number>>> {
  const counts: Record<string, Record<string, number>> = {};
  for (const [index, part] of blocksOf(model).entries()) {
    const { notes } = (await progress.load(blockFile(index)))!;
    for (const { name } of listing(part).linears)
      counts[part.prefix + name] = Object.fromEntries(
        offered.map((bits, i) => [bits, notes[name]![i]!] as const),
      );
  }
  return counts;
}

/** Those of the data, the next tokens of a text; or drawn from the model's prediction for the same rows. */
async function labelsOf(
  { programs, checkpoint, set, hooks }: CalibrationContext,
  { labels, seed }: OacSettings,
  store: SampleStore,
): Promise<Labels> {
  if (labels === 'data') return nextTokens(set!.inputs as SampleSource<BigInt64Array>);
  const isLabelled = labelledRows(checkpoint);
  return drawLabels(programs, checkpoint, store, { seed, isLabelled }, { signal: hooks.signal });
}

/** All layers of a block at all bit-widths, as a progress file keeps them. */
async function roundBlock(
  { programs, checkpoint, hooks }: CalibrationContext,
  settings: OacSettings,
  { part, listing }: BlockGradients,
  sums: ReadonlyMap<string, Float32Array>,
): Promise<{ readonly tensors: Map<string, KeptTensor>; readonly notes: Notes }> {
  const parameters = await checkpoint.read(part);
  const layers: LayerHessian[] = [];
  for (const group of byInput(listing.linears)) {
    const energy = sums.get(energyOf(group[0].name))!;
    for (const layer of group) {
      const hessian = sums.get(layer.name)!;
      const label = part.prefix + layer.name;
      requireLive(hessian, energy, label);
      const isDead = (column: number) => energy[column] === 0;
      layers.push({ label, layer, weight: parameters.get(`${layer.name}.weight`)!, hessian, isDead });
    }
  }
  const tensors = new Map<string, KeptTensor>();
  const notes: Record<string, number[]> = {};
  for (const unit of unitsOf(layers, settings)) {
    const factored: FactoredLayer[] = [];
    for (const own of unit) factored.push(await factorLayer(programs, own, settings, hooks));
    for (const bits of settings.offered) {
      const rounded = await roundLayers(programs, factored, settings, bits, hooks.signal);
      for (const [i, weight] of rounded.entries()) {
        const { name } = factored[i]!.layer;
        for (const [what, tensor] of keptWeight(`${name}.${bits}`, weight)) tensors.set(what, tensor);
        (notes[name] ??= []).push(countOf(weight));
      }
    }
  }
  return { tensors, notes };
}

/** Throws UserError where an input is active but its squared gradients are too small for float32: its weights would be taken for dead. */
function requireLive(hessian: Float32Array, energy: Float32Array, layer: string): void {
  const n = energy.length;
  const lost = energy.findIndex((x, i) => x > 0 && hessian[i * n + i] === 0);
  if (lost !== -1)
    throw new UserError(
      `${layer}: the model's loss does not depend on input ${lost}, or too little for float32; --hessian l2 does without the loss.`,
    );
}
