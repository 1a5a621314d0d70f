/**
 * What a calibration takes, counted on its graphs without running any: the steps, the passes that carry the calibration
 * set from block to block, the search for the start, and the guard. Of work on the host (shuffling, files) only the search
 * for activation ranges is counted, which takes as long as many steps.
 */
import { scaleRows } from '../../graph/quantizers.js';
import { addWork, peakBytes, timesWork, type Work, workOf } from '../../graph/work.js';
import { sizeOf, type Graph } from '../../graph/ir.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import { byInput, type PartListing } from '../../models/listing.js';
import {
  blocksOf,
  chainParts,
  chainsOf,
  inputSize,
  inputsOf,
  outputSize,
  type Part,
} from '../../models/model.js';
import type { AdapterLayout } from './adapters.js';
import { lossWeightsCost } from '../loss-weights.js';
import type { CalibrationCost } from '../method.js';
import { bytesOfTensors } from '../stored-bytes.js';
import { samplesAtOnce } from '../walk.js';
import { computedGroups, computedSite } from './computed-start.js';
import { layoutOf } from './layout.js';
import { SEARCH_RUNS, sideGraph } from './clip-start.js';
import { momentsGraph, momentPanel } from '../../execution/moments.js';
import { observeGraph } from '../../execution/observe.js';
import { plainGraph } from '../../execution/part.js';
import { quantizedGraph } from '../../execution/quantized-part.js';
import { judgedOf } from './guard.js';
import { hasOwnStreams } from './merge.js';
import { groupSizesOf, halvesOf, seenOf, type QueptOptions } from './options.js';
import { errorGraph, smoothingSites } from '../../transforms/smooth.js';
import { stateTensors } from './state.js';
import { storedForms } from './stored.js';
import { stepGraph } from './step.js';

/** @param samples of the calibration set */
export function calibrationCost(
  checkpoint: Pick<Checkpoint, 'model' | 'listing'>,
  options: QueptOptions,
  samples: number,
): CalibrationCost {
  const { model } = checkpoint;
  const batch = Math.min(options.batch, samples);
  const byKind = new Map<string, BlockCost>();
  for (const part of blocksOf(model))
    if (!byKind.has(part.kind))
      byKind.set(part.kind, blockCost(part, checkpoint.listing(part), options, samples));
  const blocks = blocksOf(model).map((part) => byKind.get(part.kind)!);

  const passes = (graph: Graph, count: number) => timesWork(workOf(graph), Math.ceil(count / batch));
  const stems = chainsOf(model).map(({ stem }) => plainGraph(stem, batch));
  const ends = [...stems, plainGraph(model.head, batch)];
  const forward = blocks.map(({ forward }) => forward);
  const bits = bitsOf(options);
  // In full precision once, and at every bit-width as learned and as started.
  const guarded = options.guard ? (1 + 2 * bits.length) * judgedOf(samples, options).samples : 0;
  const work = sum([
    ...blocks.map(({ work }) => work),
    ...stems.map((graph) => passes(graph, 2 * samples)),
    ...ends.map((graph) => passes(graph, guarded)),
    ...forward.map((one) => timesWork(one, guarded / batch)),
  ]);

  const weighing = options.weighting === 'loss' ? lossWeightsCost(checkpoint, samples) : undefined;
  // In full precision, and the quantized streams, which pass in place or merge into one; where the size of samples changes,
  // one is replaced after another.
  const groups = options.groups.length;
  const stores = 1 + (hasOwnStreams(options.merge) ? groups : 1 + groups);
  const inputs = inputsOf(model).map(({ shape, type }) => sizeOf(shape(1)) * (type === 'int64' ? 8 : FLOAT));
  // What towers yield is kept in full precision and in every quantized stream.
  let kept = 0;
  const held = chainsOf(model).flatMap((chain) => {
    const before = kept;
    kept += (1 + (hasOwnStreams(options.merge) ? groups : 1)) * outputSize(chainParts(chain).at(-1)!);
    return chain.blocks.map((part) => {
      const [from, to] = [inputSize(part), outputSize(part)];
      return before + stores * Math.max(from, to) + (from === to ? 0 : Math.min(from, to));
    });
  });
  return {
    work: weighing ? addWork(work, weighing.work) : work,
    looked: total(blocks.map(({ looked }) => looked)),
    activations: Math.max(samples * (total(inputs) + Math.max(...held) * FLOAT), weighing?.activations ?? 0),
    tensors: Math.max(...blocks.map(({ bytes }) => bytes)),
    stored: blocksOf(model).reduce((sum, part) => sum + storedOf(checkpoint.listing(part), options), 0),
  };
}

/** Adapters and clip logits of a block. */
function storedOf({ linears }: PartListing, options: QueptOptions): number {
  const rank = options.groups.at(-1)!.rank;
  const forms = linears.flatMap((layer) => [
    ...storedForms(options.storage, 'lora_A', [rank, layer.in]),
    ...storedForms(options.storage, 'lora_B', [layer.out, rank]),
    ...options.groups.flatMap(({ bits }, g) =>
      bits.flatMap((b) =>
        ['upper', 'lower'].flatMap((side) =>
          storedForms(options.storage, `clip_${side}.${b}`, [scaleRows(layer, groupSizesOf(options)[g]!)]),
        ),
      ),
    ),
  ]);
  return bytesOfTensors(forms.map(([, form]) => form));
}

interface BlockCost {
  readonly work: Work;
  /** One pass of a batch at a bit-width. */
  readonly forward: Work;
  readonly looked: number;
  /** Beside the activations of the calibration set. */
  readonly bytes: number;
}

/** The quantizer of each layer's input, all layers at one bit-width. */
const quantizedInputs = ({ linears }: PartListing, { quantizers, tokens }: AdapterLayout) =>
  new Map(
    linears.flatMap(({ name, input }) =>
      tokens || quantizers.includes(input) ? [[name, input] as const] : [],
    ),
  );

const FLOAT = 4;

function blockCost(part: Part, listing: PartListing, options: QueptOptions, samples: number): BlockCost {
  const seen = seenOf(samples, options);
  const batch = Math.min(options.batch, seen);
  const layout = layoutOf(part, listing, options);
  const graph = stepGraph(part, layout, {
    batch,
    loss: options.loss,
    apart: options.apart,
    ordinary: options.ordinary,
    weighted: options.weighting === 'loss',
    ownStreams: hasOwnStreams(options.merge),
  });
  const plain = workOf(plainGraph(part, batch));
  const forward = workOf(
    quantizedGraph(
      part,
      { inputs: quantizedInputs(listing, layout), grids: new Set(layout.quantizers), cache: layout.cache },
      batch,
    ),
  );
  const observed = Math.max(1, Math.floor(Math.min(options.rangeSamples, seen) / batch));
  const work = sum([
    timesWork(workOf(graph), Math.floor(seen / batch) * options.epochs),
    // One group's losses after every epoch, and beside them those of its start.
    timesWork(forward, ((samples - seen) / batch) * (options.epochs + bitsOf(options).length)),
    ...computedWork(part, listing, layout, options, seen),
    timesWork(plain, Math.ceil(samples / batch) + observed),
    timesWork(forward, Math.ceil(samples / batch) * layout.groups.length),
    startWork(part, listing, layout, options, observed * batch),
  ]);
  const parameters = listing.parameters.reduce((n, { shape }) => n + sizeOf(shape), 0) * FLOAT;
  const state = stateTensors(layout).reduce((n, { shape }) => n + 3 * sizeOf(shape), 0) * FLOAT;
  const taps = observeGraph(part, layout.quantizers, batch).outputs.values();
  const elements = total([...taps].map(({ shape }) => sizeOf(shape))) * observed;
  const bits = bitsOf(options).length;
  // Held twice: as observed, and the copy whose percentiles are taken.
  const held = 2 * elements * FLOAT;
  // Host and session each hold the parameters; a step has the old state and the new, of which the graph's peak counts the new.
  return {
    ...{ work, forward, looked: elements * bits * options.percentiles.length },
    bytes: 2 * parameters + Math.max(held, peakBytes(graph) + state),
  };
}

const bitsOf = ({ groups }: QueptOptions): number[] => groups.flatMap((g) => g.bits);

/** Sums over the streams at every input, and the clip search around computed adapters. @param seen samples */
function computedWork(
  part: Part,
  listing: PartListing,
  layout: AdapterLayout,
  options: QueptOptions,
  seen: number,
): Work[] {
  const groups = computedGroups(layout);
  if (!options.computed || groups.length === 0) return [];
  const batch = samplesAtOnce([part], seen);
  const done = new Set<string>();
  const sites = byInput(listing.linears).map((group) => {
    const { graph } = computedSite(
      { part, batch },
      group[0],
      done,
      groups.length,
      options.weighting === 'loss',
    );
    for (const { name } of group) done.add(name);
    return timesWork(workOf(graph), Math.ceil(seen / batch));
  });
  return [...sites, ...searchWork(layout, options, groups)];
}

/** The clip search of every layer at the bit-widths of some groups. */
const searchWork = (layout: AdapterLayout, options: QueptOptions, groups: readonly number[]): Work[] =>
  layout.layers.flatMap(({ in: columns, out }) =>
    groups.map((g) =>
      timesWork(
        workOf(
          sideGraph(
            out,
            columns,
            momentPanel(options),
            groupSizesOf(options)[g]!,
            halvesOf(options)[g]!,
            'upper',
          ),
        ),
        SEARCH_RUNS * layout.groups[g]!.bits.length,
      ),
    ),
  );

/** Moments of inputs, AWQ's scales and clip search. @param samples looked at, whole batches */
function startWork(
  part: Part,
  listing: PartListing,
  layout: AdapterLayout,
  options: QueptOptions,
  samples: number,
): Work {
  const searches =
    options.clipStart === 'search' ? searchWork(layout, options, [...layout.groups.keys()]) : [];
  const sizeOfGroup = (g: number) => groupSizesOf(options)[g]!;
  const smoothings = options.smooth
    ? smoothingSites(part, listing).flatMap(({ layers }) =>
        layers.flatMap(({ in: columns, out }) =>
          options.groups.map((group, g) =>
            timesWork(
              workOf(errorGraph(out, columns, momentPanel(options), sizeOfGroup(g))),
              group.bits.length,
            ),
          ),
        ),
      )
    : [];
  const batch = Math.min(options.batch, samples);
  const inputs = [...new Map(listing.linears.map((l) => [l.input, l.in]))];
  const moments = workOf(
    momentsGraph(part, inputs, batch, momentPanel(options), {
      ordinary: options.ordinary,
      weighted: options.weighting === 'loss',
    }).graph,
  );
  const collected = timesWork(moments, (samples / batch) * (options.smooth ? 2 : 1));
  return sum([collected, ...smoothings, ...searches]);
}

const total = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);

const sum = (list: readonly Work[]): Work => list.reduce(addWork);
