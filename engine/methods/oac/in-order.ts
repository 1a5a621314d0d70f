/** Blocks in the order they run, each read as the quantized ones before it leave its input, one bit-width after another. */
import { disposeAll, placeAll } from '../../execution/part.js';
import { plainParts } from '../../execution/part-by-part.js';
import { squaredLength } from '../../execution/hessians.js';
import { sweepBack } from '../../execution/reverse-sweep.js';
import type { SampleStore } from '../../execution/sample-store.js';
import { addUp } from '../../execution/sums.js';
import { tapPart, tokenWeights, addMoment } from '../../execution/taps.js';
import { Graph, type Shape } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { byInput, type LinearEntry } from '../../models/listing.js';
import { toFloats, type QuantizedWeight } from '../../quantized/weight.js';
import type { CalibrationContext } from '../method.js';
import { blockFile } from '../progress.js';
import { walkBlocks, type BlockAt, type Parameters } from '../walk.js';
import { readKept } from '../weight-set.js';
import { formAt } from './backends.js';
import { sweepTask } from './loss.js';
import { keepLayers, keptName, layerHessians, roundUnits } from './round.js';
import type { OacSettings } from './settings.js';
import { addEnergies, addPlain, oacSums } from './sums.js';

export const fileAt = (bits: number, index: number): string => blockFile(index, `${bits}-bits-`);

/** Share of a calibration of weighted moments that its one pass back is of it. */
const FIRST = 0.2;

/** By `scheme`, all layers of a block at once (`block`), or those that share an input, which see the others quantized (`layer`). */
export async function quantizeInOrder(context: CalibrationContext, settings: OacSettings): Promise<void> {
  const { checkpoint, set, hooks } = context;
  const { offered, hessian } = settings;
  const blocks = checkpoint.model.blocks.length;
  const first = hessian === 'weighted' ? FIRST : 0;
  const weights = first > 0 ? await lossWeights(context, settings, first) : undefined;
  try {
    for (const [i, bits] of offered.entries())
      await walkBlocks(context, set!.inputs, [plainParts(context.programs, checkpoint)], async (block) => {
        const status = (share: number) =>
          hooks.status({
            done: first + ((1 - first) * (i + (block.index + share) / blocks)) / offered.length,
            phase: `${bits} bits, block ${block.index + 1}/${blocks}`,
            place: i * blocks + block.index,
          });
        status(0);
        return [await quantizeBlock(context, settings, bits, block, weights, status)];
      });
  } finally {
    for (const store of weights?.values() ?? []) store.release();
  }
}

/** ‖δ‖² of every token for the output of each layer, by its full name, in the full-precision model. */
async function lossWeights(
  context: CalibrationContext,
  settings: OacSettings,
  share: number,
): Promise<ReadonlyMap<string, SampleStore>> {
  const { programs, cache, set, hooks } = context;
  const { samples } = set!.inputs;
  const found = new Map<string, SampleStore>();
  await sweepBack(
    programs,
    sweepTask(context, settings),
    {
      build: (graph, layers, { part, batch }) => {
        for (const [name, { delta }] of layers) {
          graph.output(weightName(name), squaredLength(delta));
          found.set(part.prefix + name, cache.store(samples, delta.shape[0]! / batch));
        }
        return new Map();
      },
      keeps: ({ part, listing }) =>
        new Map(listing.linears.map(({ name }) => [weightName(name), found.get(part.prefix + name)!])),
      done: () => Promise.resolve(),
    },
    { signal: hooks.signal, status: (done) => hooks.status({ done: share * done, phase: 'gradients' }) },
  );
  return found;
}

const weightName = (layer: string) => `weight.${layer}`;

/** The block's parameters with quantized weights. */
async function quantizeBlock(
  context: CalibrationContext,
  settings: OacSettings,
  bits: number,
  block: BlockAt,
  weights: ReadonlyMap<string, SampleStore> | undefined,
  status: (share: number) => void,
): Promise<Parameters> {
  const { progress } = context;
  const { index, part, listing } = block;
  const file = fileAt(bits, index);
  const saved = await progress.load(file);
  const parameters = new Map(block.parameters);
  const replace = (layer: string, weight: QuantizedWeight) =>
    parameters.set(`${layer}.weight`, { data: toFloats(weight), shape: weight.shape });
  if (saved) {
    for (const layer of listing.linears) {
      const name = keptName(layer.name, bits);
      const [count = 0] = saved.notes[name]!;
      replace(layer.name, await readKept(saved, name, formAt(settings, layer, bits, count)));
    }
    return parameters;
  }
  const kept = keepLayers();
  const units = settings.scheme === 'block' ? [listing.linears] : byInput(listing.linears);
  for (const [i, unit] of units.entries()) {
    const share = (done: number) => status((i + done) / units.length);
    const sums =
      weights || settings.hessian === 'l2'
        ? await weightedSums(context, settings, block, parameters, unit, weights, share)
        : await sweptSums(context, settings, block, parameters, unit, share);
    const layers = layerHessians(part, unit, parameters, sums, settings);
    await roundUnits(context, settings, layers, [bits], (layer, _bits, weight) => {
      kept.take(layer, bits, weight);
      replace(layer, weight);
    });
  }
  await progress.save(file, kept.tensors, kept.notes);
  status(1);
  return parameters;
}

/** `oacSums` of some layers, by gradients that pass the unquantized blocks behind, this one as it is now. */
async function sweptSums(
  context: CalibrationContext,
  settings: OacSettings,
  { index, part, streams }: BlockAt,
  parameters: Parameters,
  unit: readonly LinearEntry[],
  status: (share: number) => void,
): Promise<ReadonlyMap<string, Float32Array>> {
  const { programs, checkpoint, hooks } = context;
  const read = (other: typeof part) =>
    other === part ? Promise.resolve(new Map(parameters)) : checkpoint.read(other);
  const names = new Set(unit.map(({ name }) => name));
  const build = oacSums(settings);
  let found: ReadonlyMap<string, Float32Array> = new Map();
  await sweepBack(
    programs,
    {
      ...sweepTask(context, settings, { ...checkpoint, read }),
      from: { index, x: streams[0]!.x as SampleStore },
    },
    {
      build: (graph, layers, block) =>
        block.index === index
          ? build(graph, new Map([...layers].filter(([name]) => names.has(name))), block)
          : new Map(),
      done: (block, sums) => {
        if (block.index === index) found = sums;
        return Promise.resolve();
      },
    },
    { signal: hooks.signal, status },
  );
  return found;
}

/** Of some layers Σ ω x xᵀ, and what tells inputs that are never active. @param weights ω, 1 where there are none */
async function weightedSums(
  { programs, hooks }: CalibrationContext,
  { mix }: OacSettings,
  block: BlockAt,
  parameters: Parameters,
  unit: readonly LinearEntry[],
  weights: ReadonlyMap<string, SampleStore> | undefined,
  status: (share: number) => void,
): Promise<ReadonlyMap<string, Float32Array>> {
  const { part, batch, listing } = block;
  const graph = new Graph();
  const { layers } = tapPart(graph, part, batch);
  const own = new Map([...layers].filter(([name]) => unit.some((layer) => layer.name === name)));
  const sums = new Map<string, Shape>();
  const reads = new Map<string, { samples: SampleStore; shape: Shape }>();
  for (const [name, tap] of own) {
    const [rows, columns] = tap.x.shape as readonly [number, number];
    const counted = tokenWeights(graph, tap, batch, 'alike');
    const samples = weights?.get(part.prefix + name);
    if (samples) reads.set(weightName(name), { samples, shape: [rows / batch, 1] });
    const each = samples ? op.mul(counted, graph.input(weightName(name), [rows, 1])) : counted;
    graph.output(name, addMoment(tap.x, each, graph.input(`sum.${name}`, [columns, columns])));
    sums.set(name, [columns, columns]);
  }
  addEnergies(graph, own, { listing, batch }, sums);
  if (mix > 0) addPlain(graph, own, { listing, batch }, sums);
  const placed = await placeAll(programs, parameters);
  return addUp(programs, graph, sums, block, placed, { signal: hooks.signal, status }, { reads }).finally(
    () => disposeAll(placed),
  );
}
