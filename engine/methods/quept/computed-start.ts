/**
 * Adapters that are computed instead of drawn (docs/METHOD.md, section 2): of bit groups of few bits each has a stream of
 * its own, and its directions bring a layer's weight as near as they can to the one that, on the stream's input, gives what
 * the full-precision stream has there. Ranges are searched around what they yield.
 */
import type { Moments } from '../../execution/moments.js';
import { momentPanel } from '../../execution/moments.js';
import { disposeAll, placeAll, replace } from '../../execution/part.js';
import type { SampleStore } from '../../execution/sample-store.js';
import { addUp, suffixOf } from '../../execution/sums.js';
import { tapPart } from '../../execution/taps.js';
import type { NamedTensors } from '../../execution/tensors.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { byInput, type LinearEntry } from '../../models/listing.js';
import { toFloats } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import { lostName, momentName, openTargets, siteGraph } from '../../backends/targets.js';
import { lossReads, lossWeights } from '../loss-weights.js';
import { samplesAtOnce } from '../walk.js';
import type { BlockContext } from './block.js';
import { searchClip } from './clip-start.js';
import { lowRank } from './low-rank.js';
import { seenOf, settingsOf } from './options.js';
import { layerCodes } from './weights.js';

/** Bit groups of no more than so many bits have computed adapters (docs/METHOD.md, section 2). */
const COMPUTED_BITS = 4;

export const computedGroups = ({ groups }: BlockContext['layout']): number[] =>
  [...groups.keys()].filter((g) => Math.max(...groups[g]!.bits) <= COMPUTED_BITS);

/** Share of what is lost that a layer makes up for, and damping, of the mean diagonal (docs/METHOD.md, section 2). */
const SHARE = 0.7;
const DAMPING = 0.1;

/**
 * The starting values with adapters and clip logits of the computed groups in place of drawn ones.
 * @param start of the block; @param parameters of the part, rescaled by it
 * @param plain, streams what the block reads: in full precision, and for each group
 */
export async function computedStart(
  programs: Programs,
  { context, options, part, listing, layout, side, sides, weights }: BlockContext,
  start: NamedTensors,
  parameters: ReadonlyMap<string, HostTensor>,
  plain: SampleStore,
  streams: readonly SampleStore[],
): Promise<NamedTensors> {
  const { hooks } = context;
  const tensors: NamedTensors = new Map(start);
  const computed = computedGroups(layout);
  if (computed.length === 0) return tensors;
  const samples = seenOf(plain.samples, options);
  const seen = (store: SampleStore) => ({ ...store, samples });
  const read = {
    part,
    batch: samplesAtOnce([part], samples),
    streams: [{ x: seen(plain), side }, ...computed.map((g) => ({ x: seen(streams[g]!), side: sides[g]! }))],
  };
  const precision = settingsOf(options);
  const placed = await placeAll(programs, parameters);
  const done = new Set<string>();
  try {
    for (const group of byInput(listing.linears)) {
      const [first] = group;
      const { graph, sums, isAdded } = computedSite(
        read,
        first,
        done,
        computed.length,
        weights !== undefined,
      );
      const passHooks = { signal: hooks.signal, status: () => undefined };
      const reads = lossReads(weights, [first.name]);
      const found = await addUp(programs, graph, sums, read, placed, passHooks, { reads });
      for (const [i, g] of computed.entries()) {
        const { bits } = layout.groups[g]!;
        const hessian = found.get(momentName(i))!;
        const site = {
          hessian,
          lost: found.get(lostName(i))!,
          isAdded,
          damping: DAMPING,
          label: part.prefix + first.name,
        };
        const targetOf = await openTargets(programs, site, first.in, hooks);
        const moment = damped(hessian, first.in);
        const panels = panelsOf(moment, first.in, momentPanel(options));
        for (const layer of group) {
          const { data, shape } = parameters.get(`${layer.name}.weight`)!;
          const above = withDirections(data, tensors, layer, g === 0 ? 0 : layout.groups[g - 1]!.rank);
          const target = await targetOf(data);
          const error = target.map((x, at) => x - above[at]!);
          await setDirections(programs, tensors, layout, layer, g, error, moment);
          const adapted = { data: withDirections(data, tensors, layer, layout.groups[g]!.rank), shape };
          for (const b of bits) {
            const { upper, lower } = await searchClip(
              programs,
              adapted,
              b,
              panels,
              layout.groupSizes[g],
              layout.halves?.[g],
            );
            const rows = [upper.length, 1];
            tensors.set(`${layer.name}.clip_upper.${b}`, { shape: rows, data: upper });
            tensors.set(`${layer.name}.clip_lower.${b}`, { shape: rows, data: lower });
          }
          const lowest = Math.min(...bits);
          const weight = await layerCodes(programs, precision, tensors, layer, data, lowest);
          await replace(programs, placed, ownWeight(layer.name, i), { data: toFloats(weight), shape });
        }
      }
      for (const { name } of group) done.add(name);
    }
    return tensors;
  } finally {
    disposeAll(placed);
  }
}

const ownWeight = (layer: string, i: number) => `${layer}.weight${suffixOf(i + 1)}`;

/** `siteGraph` of these streams. @param done layers whose weights are quantized already @param isWeighted by the loss */
export const computedSite = (
  { part, batch }: { readonly part: BlockContext['part']; readonly batch: number },
  layer: LinearEntry,
  done: ReadonlySet<string>,
  count: number,
  isWeighted: boolean,
): ReturnType<typeof siteGraph> =>
  siteGraph(
    { part, batch },
    layer,
    SHARE,
    (graph) =>
      Array.from({ length: count }, (_, i) => {
        const weightOf = (name: string) => (done.has(name) ? ownWeight(name, i) : `${name}.weight`);
        return tapPart(graph, part, batch, suffixOf(i + 1), weightOf).layers.get(layer.name)!;
      }),
    isWeighted ? (graph, rows) => lossWeights(graph, layer.name, rows) : undefined,
  );

/** The moment, up to a factor, with a share of its mean diagonal added to it; one of nothing but zeros becomes 1. */
function damped(hessian: Float32Array, n: number): Float32Array {
  let mean = 0;
  for (let i = 0; i < n; i++) mean += hessian[i * (n + 1)]! / n;
  const unit = mean || 1;
  return hessian.map((x, i) => x / unit + (i % (n + 1) === 0 ? (mean ? DAMPING : 1) : 0));
}

/** The squares on the diagonal of a moment [n, n]. */
function panelsOf(moment: Float32Array, columns: number, panel: number): Moments {
  const count = Math.ceil(columns / panel);
  const data = new Float32Array(count * panel * panel);
  for (let p = 0; p < count; p++)
    for (let row = p * panel; row < Math.min(columns, (p + 1) * panel); row++) {
      const from = row * columns + p * panel;
      const part = moment.subarray(from, Math.min(from + panel, (row + 1) * columns));
      data.set(part, row * panel);
    }
  return { data, panel, columns };
}

/** W + the first `rank` directions of the layer's adapter. */
function withDirections(
  weight: Float32Array,
  tensors: NamedTensors,
  { name, in: columns, out }: LinearEntry,
  rank: number,
): Float32Array {
  const sum = weight.slice();
  const { data: a } = tensors.get(`${name}.lora_A`)!;
  const { data: b, shape } = tensors.get(`${name}.lora_B`)!;
  const all = shape[1]!;
  for (let row = 0; row < out; row++)
    for (let d = 0; d < rank; d++) {
      const share = b[row * all + d]!;
      if (share === 0) continue;
      for (let j = 0; j < columns; j++) sum[row * columns + j]! += share * a[d * columns + j]!;
    }
  return sum;
}

/** Puts what is nearest to an error into the directions that a group adds; where there is none, they stay as drawn. */
async function setDirections(
  programs: Programs,
  tensors: NamedTensors,
  { groups }: BlockContext['layout'],
  { name, in: columns, out }: LinearEntry,
  g: number,
  error: Float32Array,
  moment: Float32Array,
): Promise<void> {
  const from = g === 0 ? 0 : groups[g - 1]!.rank;
  const rank = groups[g]!.rank - from;
  if (rank === 0 || error.every((x) => x === 0)) return;
  const found = await lowRank(programs, error, moment, columns, rank);
  const { data: a, shape } = tensors.get(`${name}.lora_A`)!;
  const { data: b, shape: wide } = tensors.get(`${name}.lora_B`)!;
  const [nextA, nextB] = [a.slice(), b.slice()];
  nextA.set(found.a, from * columns);
  const all = wide[1]!;
  for (let row = 0; row < out; row++)
    nextB.set(found.b.subarray(row * rank, (row + 1) * rank), row * all + from);
  tensors.set(`${name}.lora_A`, { shape, data: nextA });
  tensors.set(`${name}.lora_B`, { shape: wide, data: nextB });
}
