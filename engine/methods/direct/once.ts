/** All bit-widths from one pass in full precision: one second moment for each input that layers share. */
import { disposeAll, placeAll } from '../../execution/part.js';
import { plainParts } from '../../execution/part-by-part.js';
import type { SampleStore } from '../../execution/sample-store.js';
import { Graph, type Shape } from '../../graph/ir.js';
import { byInput, type LinearEntry } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import * as op from '../../graph/ops.js';
import { lossReads, lossWeights, lossWeightsOf, type LossWeights } from '../loss-weights.js';
import type { CalibrationContext } from '../method.js';
import type { KeptTensor } from '../progress.js';
import { inPhase } from '../phases.js';
import { factorMoment } from '../../backends/moment-factor.js';
import { keepBlock } from './kept.js';
import { startedGrids } from './start.js';
import { roundWidths, siteOf } from './site.js';
import type { DirectSettings } from './settings.js';
import type { StageRun } from './stage.js';
import { addUp } from '../../execution/sums.js';
import { addMoment, tapPart, tokenWeights } from '../../execution/taps.js';
import type { BlockAt } from '../walk.js';

/** Share of the mean diagonal that is added to it (docs/METHOD.md, section 13). */
export const DAMPING = 0.1;

/** Its one stream stays in full precision. */
export function onePass(context: CalibrationContext, settings: DirectSettings): StageRun {
  /** The block that the stream passed while its moments were added up. */
  let passed: BlockAt | undefined;
  return {
    stage: 'once',
    stems: [plainParts(context.programs, context.checkpoint)],
    round: async (block, status) => {
      const kept = await roundBlock(context, settings, block, status);
      if (block.into[0]) passed = block;
      return kept;
    },
    next: (block) => (block === passed ? 'passed' : [block.parameters]),
  };
}

async function roundBlock(
  context: CalibrationContext,
  settings: DirectSettings,
  block: BlockAt,
  status: (done: number) => void,
): Promise<Map<string, KeptTensor>> {
  const { programs, hooks } = context;
  const { part, listing, parameters, into } = block;
  const { signal } = hooks;
  const groups = byInput(listing.linears);
  const weights = await lossWeightsOf(context, block.index);
  const moments = await blockMoments(programs, block, signal, (done) => status(done / 2), {
    weights,
    into: into[0],
  });
  const kept = new Map<string, KeptTensor>(await startedGrids(context, block.index));
  let layers = 0;
  for (const group of groups) {
    const [first] = group;
    const hessian = moments.get(first.name)!;
    moments.delete(first.name);
    const label = part.prefix + first.name;
    const factored = await inPhase('factors', () =>
      factorMoment(programs, hessian, first.in, DAMPING, label, hooks),
    );
    const site = siteOf(hessian, factored);
    for (const { name } of group) {
      const { data } = parameters.get(`${name}.weight`)!;
      const widths = await roundWidths(programs, site, data, settings, settings.offered, signal);
      for (const [bits, rounded] of widths) keepBlock(kept, name, bits, rounded.kept);
      status(0.5 + ++layers / listing.linears.length / 2);
    }
  }
  return kept;
}

/**
 * The moments of all inputs that layers share, in the first stream, by the name of the first of these: Σ x xᵀ [in, in].
 * @param into takes what the block yields
 */
export async function blockMoments(
  programs: Programs,
  block: BlockAt,
  signal: AbortSignal,
  status: (done: number) => void,
  { weights, into }: { readonly weights: LossWeights | undefined; readonly into?: SampleStore | undefined },
): Promise<Map<string, Float32Array>> {
  const { part, listing, parameters, streams, batch } = block;
  const groups = byInput(listing.linears);
  const { graph, sums } = momentsGraph(part, groups, batch, {
    isYielded: into !== undefined,
    isWeighted: weights !== undefined,
  });
  const reads = lossReads(
    weights,
    groups.map(([{ name }]) => name),
  );
  const placed = await placeAll(programs, parameters);
  const first = { part, batch, streams: streams.slice(0, 1) };
  const writes = new Map(into ? [['y', into]] : []);
  return inPhase('moments', () =>
    addUp(programs, graph, sums, first, placed, { signal, status }, { reads, writes }),
  ).finally(() => disposeAll(placed));
}

/** Adds up the moments of all inputs that layers share, by the name of the first of these. @param isYielded whether `y` is an output */
function momentsGraph(
  part: Part,
  groups: readonly (readonly [LinearEntry, ...LinearEntry[]])[],
  batch: number,
  { isYielded, isWeighted }: { readonly isYielded: boolean; readonly isWeighted: boolean },
): { readonly graph: Graph; readonly sums: ReadonlyMap<string, Shape> } {
  const graph = new Graph();
  const sums = new Map<string, Shape>();
  const { y, layers } = tapPart(graph, part, batch);
  if (isYielded) graph.output('y', y);
  for (const [{ name, in: columns }] of groups) {
    const shape = [columns, columns];
    const tap = layers.get(name)!;
    sums.set(name, shape);
    const weights = isWeighted
      ? op.mul(tokenWeights(graph, tap, batch, 'alike'), lossWeights(graph, name, tap.x.shape[0]!))
      : tokenWeights(graph, tap, batch, 'ordinary');
    graph.output(name, addMoment(tap.x, weights, graph.input(`sum.${name}`, shape)));
  }
  return { graph, sums };
}
