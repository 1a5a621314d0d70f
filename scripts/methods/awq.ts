/**
 * AWQ with clipping (Lin et al. 2024, sections 3.2 and 4.1) for comparison: of every bit-width by itself, input channels
 * scaled by the exponent, and grids clipped to the shares of their range, with the least output error of plain rounding. What
 * the paper does by reconstruction on samples is done by second moments; clips are searched of both sides.
 */
import type { CalibrationSet } from '../../engine/methods/method.js';
import { searchClip } from '../../engine/methods/quept/clip-start.js';
import { walkBlocks, type BlockAt, type WalkContext } from '../../engine/methods/walk.js';
import { batchesOf } from '../../engine/execution/batches.js';
import { momentPanel, secondMoments, type Moments } from '../../engine/execution/moments.js';
import { plainParts } from '../../engine/execution/part-by-part.js';
import type { QuantizedSource } from '../../engine/execution/source.js';
import type { NamedTensors } from '../../engine/execution/tensors.js';
import { Graph } from '../../engine/graph/ir.js';
import { scaleRows, weightGrid } from '../../engine/graph/quantizers.js';
import type { HostTensor } from '../../engine/models/checkpoint.js';
import type { GridWeight } from '../../engine/quantized/weight.js';
import { formOf } from '../../engine/quantized/form.js';
import type { Programs } from '../../engine/runtime/programs.js';
import { rescaled, rescaledParameters } from '../../engine/transforms/rescaling.js';
import { smooth } from '../../engine/transforms/smooth.js';

export interface AwqSettings {
  readonly bits: readonly number[];
  /** Input columns that share a scale at 4 bits and below, -1 for whole rows. */
  readonly groupSize: number;
}

/** What is made of a model at one bit-width. */
interface Made {
  /** Scales of a block, by its prefix. */
  readonly scales: Map<string, NamedTensors>;
  /** By full name. */
  readonly weights: Map<string, GridWeight>;
}

/** A source for each bit-width: each has scales of its own. */
export async function calibrateAwq(
  context: WalkContext & { readonly set: CalibrationSet },
  { bits, groupSize }: AwqSettings,
): Promise<ReadonlyMap<number, QuantizedSource>> {
  const { programs, checkpoint, set } = context;
  const made = new Map(
    bits.map((width): [number, Made] => [width, { scales: new Map(), weights: new Map() }]),
  );
  await walkBlocks(context, set.inputs, [plainParts(programs, checkpoint)], async (block) => {
    const moments = await momentsOf(programs, block, momentPanel({ groupSize }));
    for (const [width, into] of made)
      await roundBlock(programs, block, moments, width, width <= 4 ? groupSize : -1, into);
    return [block.parameters];
  });
  return new Map(
    [...made].map(([width, { scales, weights }]) => [
      width,
      {
        offered: [width],
        checkpoint: rescaled(checkpoint, (part) => Promise.resolve(scales.get(part.prefix)!)),
        cache: undefined,
        fixedBits: () => undefined,
        form: (layer) => formOf(weights.get(layer)!),
        weight: (layer) => Promise.resolve(weights.get(layer)!),
        activation: () => Promise.resolve(undefined),
      },
    ]),
  );
}

const momentsOf = (
  programs: Programs,
  { part, listing, parameters, batch, streams: [stream] }: BlockAt,
  panel: number,
): Promise<ReadonlyMap<string, Moments>> => {
  const { x, side } = stream!;
  return secondMoments(
    programs,
    { part, listing, parameters },
    batchesOf(part, x, side, x.samples, batch),
    batch,
    panel,
  );
};

async function roundBlock(
  programs: Programs,
  { part, listing, parameters }: BlockAt,
  moments: ReadonlyMap<string, Moments>,
  bits: number,
  groupSize: number,
  { scales, weights }: Made,
): Promise<void> {
  const options = { bits: [bits], groupSizeOf: () => groupSize };
  const tensors = await smooth(programs, { part, listing, parameters }, moments, options);
  scales.set(part.prefix, tensors);
  const own = rescaledParameters(parameters, tensors);
  for (const { name } of listing.linears) {
    const scale = tensors.get(`${name}.input_scale`)?.data;
    const seen = scale ? scaledMoments(moments.get(name)!, scale) : moments.get(name)!;
    const weight = own.get(`${name}.weight`)!;
    const clip = await searchClip(programs, weight, bits, seen, groupSize);
    weights.set(part.prefix + name, await clipped(programs, weight, bits, groupSize, clip));
  }
}

/** Moments of inputs that are divided by `scale`. */
function scaledMoments({ data, panel, columns }: Moments, scale: Float32Array): Moments {
  const at = (i: number) => scale[i] ?? 1;
  const own = data.map((value, i) => {
    const first = Math.floor(i / panel / panel) * panel;
    return value / (at(first + (Math.floor(i / panel) % panel)) * at(first + (i % panel)));
  });
  return { data: own, panel, columns };
}

async function clipped(
  programs: Programs,
  { data, shape }: HostTensor,
  bits: number,
  groupSize: number,
  { upper, lower }: { readonly upper: Float32Array; readonly lower: Float32Array },
): Promise<GridWeight> {
  const { runtime } = programs;
  const [out, columns] = shape as readonly [number, number];
  const rows = scaleRows({ in: columns, out }, groupSize);
  const program = await programs.getBuilt(codesGraph, [out, columns, groupSize], 'clipped codes', {
    keep: false,
  });
  const { codes, scale, zero } = await program.run({
    weight: runtime.tensor(data, shape),
    upper: runtime.tensor(upper, [rows, 1]),
    lower: runtime.tensor(lower, [rows, 1]),
    levels: runtime.tensor(Float32Array.of(2 ** bits - 1), []),
  });
  return {
    kind: 'grid',
    shape: [out, columns],
    bits,
    codes: Uint8Array.from(await runtime.read(codes!)),
    groupSize,
    scale: await runtime.read(scale!),
    zero: await runtime.read(zero!),
  };
}

function codesGraph(out: number, columns: number, groupSize: number): Graph {
  const graph = new Graph();
  const rows = scaleRows({ in: columns, out }, groupSize);
  const [upper, lower] = ['upper', 'lower'].map((name) => graph.input(name, [rows, 1]));
  const weight = graph.input('weight', [out, columns]);
  const grid = weightGrid(weight, upper!, lower!, graph.input('levels', []), groupSize);
  for (const [name, value] of Object.entries(grid)) graph.output(name, value);
  return graph;
}
