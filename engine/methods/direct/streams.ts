/**
 * The bit-widths of 4 and less, each on a stream of its own: a layer is rounded from the weight that, on its quantized
 * input, gives what the full-precision stream has there, so that it makes up for errors made before it.
 */
import { disposeAll, placeAll, replace } from '../../execution/part.js';
import { Graph, type Shape, type Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { byInput, type LinearEntry } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import type { CalibrationContext } from '../method.js';
import type { KeptTensor } from '../progress.js';
import { inPhase } from '../phases.js';
import { factorMoment, type FactorHooks } from './factor.js';
import { keepBlock, keptReader, type Stage } from './kept.js';
import { DAMPING } from './once.js';
import { LOW_BITS, ownWidths, type DirectSettings } from './settings.js';
import type { StageRun } from './stage.js';
import { roundWidth, siteOf } from './site.js';
import { BASE, readWeight, schemeAt } from './stored.js';
import { addUp, suffixOf } from '../../execution/sums.js';
import { addMoment, streamOf, tapPart, tokenWeights } from '../../execution/taps.js';
import { correctedWeight, product } from './target.js';
import type { BlockAt, Parameters } from '../walk.js';

/** Share of what is lost that a layer makes up for, and damping of the solution (docs/METHOD.md, section 13). */
const SHARE = 0.7;
const TARGET_DAMPING = 0.1;

/** A stream in full precision, and one for each bit-width, which goes on by what was rounded. */
export function ownStreams(context: CalibrationContext, settings: DirectSettings): StageRun {
  return {
    stage: 'stream',
    streams: 1 + ownWidths(settings).length,
    round: (block, status) => roundBlock(context, settings, block, status),
    next: ownParameters(context, settings, 'stream'),
  };
}

/** Goes on in full precision on the first stream, and on that of each bit-width by what a stage has kept of it. */
export function ownParameters(
  context: CalibrationContext,
  settings: DirectSettings,
  stage: Stage,
): StageRun['next'] {
  const read = stageReader(context, settings, stage);
  return async ({ part, parameters, listing }) => {
    const next: Parameters[] = [parameters];
    for (const bits of ownWidths(settings)) {
      const own = new Map(parameters);
      for (const layer of listing.linears) {
        const weight = await read(part, layer, bits);
        own.set(`${layer.name}.weight`, { data: toFloats(weight), shape: weight.shape });
      }
      next.push(own);
    }
    return next;
  };
}

/** Reads weights of a stage, and the base from the first. */
export function stageReader(
  { checkpoint, progress }: CalibrationContext,
  settings: DirectSettings,
  stage: Stage,
): (part: Part, layer: LinearEntry, bits: number) => Promise<GridWeight> {
  const read = keptReader(checkpoint.model, progress, (bits) => (bits > LOW_BITS ? 'once' : stage));
  return (part, layer, bits) => readWeight(settings, layer, bits, read(part, layer.name));
}

async function roundBlock(
  context: CalibrationContext,
  settings: DirectSettings,
  block: BlockAt,
  status: (done: number) => void,
): Promise<Map<string, KeptTensor>> {
  const { programs, hooks } = context;
  const { part, listing, parameters } = block;
  const { signal } = hooks;
  const widths = ownWidths(settings);
  const readBase = stageReader(context, settings, 'once');
  const kept = new Map<string, KeptTensor>();
  const placed = await placeAll(programs, parameters);
  /** Layers that are rounded, at every width. */
  const done = new Set<string>();
  try {
    const groups = byInput(listing.linears);
    for (const [at, group] of groups.entries()) {
      const [first] = group;
      const { graph, sums, isAdded } = siteGraph(part, first, done, widths, block.batch);
      const found = await inPhase('moments', () =>
        addUp(programs, graph, sums, block, placed, {
          signal,
          status: (share) => status((at + share / 2) / groups.length),
        }),
      );
      for (const [i, bits] of widths.entries()) {
        const own: OwnSite = {
          hessian: found.get(momentName(i))!,
          lost: found.get(lostName(i))!,
          isAdded,
          label: part.prefix + first.name,
        };
        const targetOf = await inPhase('factors', () => openTargets(programs, own, first.in, hooks));
        const factored = await inPhase('factors', () =>
          factorMoment(programs, own.hessian, first.in, DAMPING, own.label, hooks),
        );
        const site = siteOf(own.hessian, factored);
        for (const layer of group) {
          const { data, shape } = parameters.get(`${layer.name}.weight`)!;
          const target = await inPhase('targets', () => targetOf(data));
          const base = schemeAt(settings, bits) === 'codes' ? undefined : await readBase(part, layer, BASE);
          const rounded = await roundWidth(programs, site, target, settings, bits, base, signal);
          keepBlock(kept, layer.name, bits, rounded.kept);
          await replace(programs, placed, ownWeight(layer.name, i), {
            data: toFloats(rounded.weight),
            shape,
          });
        }
        status((at + 0.5 + (i + 1) / widths.length / 2) / groups.length);
      }
      for (const { name } of group) done.add(name);
    }
  } finally {
    disposeAll(placed);
  }
  return kept;
}

/** What a stream shows of an input that layers share. */
interface OwnSite {
  /** Σ x_q x_qᵀ, [in, in]. */
  readonly hessian: Float32Array;
  /** What the layer's output lacks, with x_q, [out, in]; or what the input lacks, [in, in]. */
  readonly lost: Float32Array;
  readonly isAdded: boolean;
  readonly label: string;
}

/** What layers at a site are rounded from, by their weights [out, in]. */
async function openTargets(
  programs: Programs,
  { hessian, lost, isAdded, label }: OwnSite,
  columns: number,
  hooks: FactorHooks,
): Promise<(weight: Float32Array) => Promise<Float32Array>> {
  if (lost.every((x) => x === 0)) return (weight) => Promise.resolve(weight);
  const factored = await factorMoment(programs, hessian, columns, TARGET_DAMPING, label, hooks);
  return async (weight) => {
    const correlation = isAdded ? lost : await product(programs, weight, lost, columns);
    return correctedWeight(programs, weight, correlation, factored, hooks.signal);
  };
}

const momentName = (i: number) => `moment.${i}`;
const lostName = (i: number) => `lost.${i}`;
const ownWeight = (layer: string, i: number) => `${layer}.weight${suffixOf(i + 1)}`;

/**
 * Adds up, for every stream, the moment of what the layers that share an input read of it, `moment.<i>`, and its
 * correlation with what is missing, `lost.<i>`: in their inputs, SHARE · Σ (x − x_q) x_qᵀ [in, in]; or, where the one layer
 * that reads it is added to the stream between blocks, in that stream behind it, SHARE · Σ ((r + W x) − (r_q + W x_q)) x_qᵀ
 * [out, in], tokens weighted by the energy there.
 * @param done layers whose weights are quantized already
 */
function siteGraph(
  part: Part,
  { name, in: columns, out }: LinearEntry,
  done: ReadonlySet<string>,
  widths: readonly number[],
  batch: number,
): { readonly graph: Graph; readonly sums: ReadonlyMap<string, Shape>; readonly isAdded: boolean } {
  const graph = new Graph();
  const sums = new Map<string, Shape>();
  const full = tapPart(graph, part, batch).layers.get(name)!;
  const taps = widths.map((_, i) =>
    tapPart(graph, part, batch, suffixOf(i + 1), (layer) =>
      done.has(layer) ? ownWeight(layer, i) : `${layer}.weight`,
    ).layers.get(name)!,
  );
  const stream = streamOf(graph, full);
  const weights = tokenWeights(graph, full, batch, 'energy');
  const share = graph.scalar(SHARE);
  const addTo = (key: string, shape: Shape, add: (before: Value) => Value) => {
    sums.set(key, shape);
    graph.output(key, add(graph.input(`sum.${key}`, shape)));
  };
  for (const [i, own] of taps.entries()) {
    const ownStream = streamOf(graph, own);
    const missing =
      stream && ownStream ? op.sub(op.add(stream, full.y), op.add(ownStream, own.y)) : op.sub(full.x, own.x);
    const weighted = op.mul(missing, op.mul(weights, share));
    addTo(momentName(i), [columns, columns], (before) => addMoment(own.x, weights, before));
    addTo(lostName(i), [stream ? out : columns, columns], (before) =>
      op.gemm(weighted, own.x, { transA: true, c: before }),
    );
  }
  return { graph, sums, isAdded: stream !== undefined };
}
