/**
 * The bit-widths of 4 and less, each on a stream of its own: a layer is rounded from the weight that, on its quantized
 * input, gives what the full-precision stream has there, so that it makes up for errors made before it.
 */
import { disposeAll, placeAll, replace } from '../../execution/part.js';
import { plainParts } from '../../execution/part-by-part.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import { addUp, suffixOf } from '../../execution/sums.js';
import { byInput } from '../../models/listing.js';
import { toFloats } from '../../quantized/weight.js';
import { GRID, gridName } from '../activation-grids.js';
import { lossReads, lossWeights, lossWeightsOf } from '../loss-weights.js';
import type { CalibrationContext } from '../method.js';
import type { KeptTensor } from '../progress.js';
import { inPhase } from '../phases.js';
import type { BlockAt } from '../walk.js';
import { factorMoment } from '../../backends/moment-factor.js';
import { lostName, momentName, openTargets, siteGraph, type OwnSite } from '../../backends/targets.js';
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

/** Share of what is lost that a layer makes up for (docs/METHOD.md, section 13). */
const SHARE = 1;
/** Damping of what makes up for it, a share of the mean diagonal; and where activations have grids. */
const TARGET_DAMPING = 0.2;
const TARGET_DAMPING_ON_GRIDS = 0.3;

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
  const damping = settings.activations === 'static' ? TARGET_DAMPING_ON_GRIDS : TARGET_DAMPING;
  const readBase = stageReader(context, settings, 'once');
  const kept = new Map<string, KeptTensor>();
  const placed = await placeAll(programs, parameters);
  const owners = ownersOf(listing, settings);
  const grids = await startedGrids(context, block.index);
  const weights = await lossWeightsOf(context, block.index);
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
      const { graph, sums, isAdded } = siteGraph(
        block,
        first,
        SHARE,
        (inGraph) => widths.map((_, i) => ownTaps(inGraph, block, settings, i, done).layers.get(first.name)!),
        weights && ((inGraph, rows) => lossWeights(inGraph, first.name, rows)),
      );
      const reads = lossReads(weights, [first.name]);
      const found = await inPhase('moments', () =>
        addUp(
          programs,
          graph,
          sums,
          block,
          placed,
          { signal, status: (share) => status((at + share / 2) / groups.length) },
          { reads },
        ),
      );
      for (const [i, bits] of widths.entries()) {
        const own: OwnSite = {
          hessian: found.get(momentName(i))!,
          lost: found.get(lostName(i))!,
          isAdded,
          damping,
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
