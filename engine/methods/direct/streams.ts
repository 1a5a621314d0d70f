/**
 * The bit-widths of 4 and less, each on a stream of its own: a layer is rounded from the weight that, on its quantized
 * input, gives what the full-precision stream has there, so that it makes up for errors made before it.
 */
import { disposeAll, placeAll, replace } from '../../execution/part.js';
import { plainParts } from '../../execution/part-by-part.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import { addUp, suffixOf } from '../../execution/sums.js';
import { addMoment, streamOf, tapPart, tokenWeights } from '../../execution/taps.js';
import { Graph, type Shape, type Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { byInput, type LinearEntry } from '../../models/listing.js';
import { toFloats } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import { GRID, gridName } from '../activation-grids.js';
import type { CalibrationContext } from '../method.js';
import type { KeptTensor } from '../progress.js';
import { inPhase } from '../phases.js';
import type { BlockAt } from '../walk.js';
import { factorMoment, type FactorHooks } from '../../backends/moment-factor.js';
import { keepBlock, type Stage } from './kept.js';
import { DAMPING } from './once.js';
import { searchOwnGrids } from './own-grids.js';
import { ownTaps, ownWeight } from './own-taps.js';
import { ownersOf, placeLimits } from './quantizers.js';
import { BASE, ownWidths, type DirectSettings } from './settings.js';
import { roundWidth, siteOf } from './site.js';
import type { StageRun } from './stage.js';
import { stageReader, stageSource } from './stage-source.js';
import { formIn, startedGrids } from './start.js';
import { schemeAt } from './stored.js';
import { correctedWeight, product } from '../../backends/corrected-weight.js';

/** Share of what is lost that a layer makes up for, and damping of the solution (docs/METHOD.md, section 13). */
const TARGET = { share: 0.7, damping: 0.1 };
/** The same where activations have grids. */
const TARGET_ON_GRIDS = { share: 1, damping: 0.3 };

const amounts = ({ activations }: Pick<DirectSettings, 'activations'>) =>
  activations === 'static' ? TARGET_ON_GRIDS : TARGET;

/** A stream in full precision, and one for each bit-width, which goes on by what was rounded. */
export function ownStreams(context: CalibrationContext, settings: DirectSettings): StageRun {
  return {
    stage: 'stream',
    ...streamsOf(context, settings, 'stream'),
    round: (block, status) => roundBlock(context, settings, block, status),
  };
}

/** The first stream stays in full precision; that of each bit-width goes on by what a stage has kept of it. */
export function streamsOf(
  context: CalibrationContext,
  settings: DirectSettings,
  stage: Stage,
): Pick<StageRun, 'stems' | 'next'> {
  const { programs, checkpoint } = context;
  const source = stageSource(context, settings, stage);
  const own = ownWidths(settings).map((bits) => quantizedParts(programs, source, bits));
  return {
    stems: [plainParts(programs, checkpoint), ...own],
    next: ({ parameters }) => [parameters, ...own],
  };
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
  const owners = ownersOf(listing, settings);
  const grids = await startedGrids(context, block.index);
  /** Layers that are rounded, at every width. */
  const done = new Set<string>();
  const searched = new Set<string>();
  try {
    for (const [i, bits] of widths.entries())
      await placeLimits(programs, placed, owners, formIn(grids, bits), bits, suffixOf(i + 1));
    const groups = byInput(listing.linears);
    for (const [at, group] of groups.entries()) {
      const [first] = group;
      if (settings.activations === 'static')
        await searchOwnGrids(programs, block, settings, group, { placed, grids, done, searched });
      const { graph, sums, isAdded } = siteGraph(block, first, done, settings);
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
          damping: amounts(settings).damping,
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
    for (const bits of widths)
      for (const owner of owners)
        for (const name of GRID.map((what) => gridName(owner, what, bits)))
          if (grids.has(name)) kept.set(name, grids.get(name)!);
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
  readonly damping: number;
  readonly label: string;
}

/** What layers at a site are rounded from, by their weights [out, in]. */
async function openTargets(
  programs: Programs,
  { hessian, lost, isAdded, damping, label }: OwnSite,
  columns: number,
  hooks: FactorHooks,
): Promise<(weight: Float32Array) => Promise<Float32Array>> {
  if (lost.every((x) => x === 0)) return (weight) => Promise.resolve(weight);
  const factored = await factorMoment(programs, hessian, columns, damping, label, hooks);
  return async (weight) => {
    const correlation = isAdded ? lost : await product(programs, weight, lost, columns);
    return correctedWeight(programs, weight, correlation, factored, hooks.signal);
  };
}

const momentName = (i: number) => `moment.${i}`;
const lostName = (i: number) => `lost.${i}`;

/**
 * Adds up, for every stream, the moment of what the layers that share an input read of it, `moment.<i>`, and its
 * correlation with what is missing, `lost.<i>`: in their inputs, share · Σ (x − x_q) x_qᵀ [in, in]; or, where the one layer
 * that reads it is added to the stream between blocks, in that stream behind it, share · Σ ((r + W x) − (r_q + W x_q)) x_qᵀ
 * [out, in], tokens weighted by the energy there.
 * @param done layers whose weights are quantized already
 */
function siteGraph(
  block: Pick<BlockAt, 'part' | 'listing' | 'batch'>,
  { name, in: columns, out }: LinearEntry,
  done: ReadonlySet<string>,
  settings: DirectSettings,
): { readonly graph: Graph; readonly sums: ReadonlyMap<string, Shape>; readonly isAdded: boolean } {
  const graph = new Graph();
  const sums = new Map<string, Shape>();
  const { part, batch } = block;
  const full = tapPart(graph, part, batch).layers.get(name)!;
  const taps = ownWidths(settings).map((_, i) => ownTaps(graph, block, settings, i, done).layers.get(name)!);
  const stream = streamOf(graph, full);
  const weights = tokenWeights(graph, full, batch, 'energy');
  const share = graph.scalar(amounts(settings).share);
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
