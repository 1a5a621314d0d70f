/** Where a block's calibration starts: activation ranges, folded norms, clip logits and adapters. */
import { createRandom } from '../../data/random.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { PartListing } from '../../models/listing.js';
import type { Programs } from '../../runtime/programs.js';
import { percentileStart } from '../../execution/activation-ranges.js';
import { scaleRows } from '../../graph/quantizers.js';
import { type AdapterLayout } from './adapters.js';
import { PAPER_LOGIT, searchClip } from './clip-start.js';
import type { Moments } from '../../execution/moments.js';
import { seenOf, type QueptOptions } from './options.js';
import { foldedNorm } from '../../transforms/fold-norms.js';
import { composed, rescaledParameters } from '../../transforms/rescaling.js';
import { smooth } from '../../transforms/smooth.js';
import { batchesOf } from '../../execution/batches.js';
import { momentPanel, secondMoments } from '../../execution/moments.js';
import type { SampleStore } from '../../execution/sample-store.js';
import type { BlockContext } from './block.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { observe, type Observed } from '../../execution/observe.js';

/**
 * Static activation grids for every quantizer and bit-width, and the folding of norms at the lowest bit-width.
 * Tensors: `<quantizer>.act_scale.<bits>`, `.act_zero.<bits>`; for folded norms `<norm>.weight`, `<norm>.bias`,
 * `<layer>.input_scale`, `<layer>.bias`. Changes `observed` to what the folded part would show.
 */
export function startActivations(
  listing: PartListing,
  layout: AdapterLayout,
  parameters: ReadonlyMap<string, HostTensor>,
  observed: Observed,
  options: Pick<QueptOptions, 'percentiles'>,
  fold = true,
): NamedTensors {
  const tensors: NamedTensors = new Map();
  const bits = layout.groups.flatMap((g) => g.bits);
  const lowest = Math.min(...bits);
  for (const name of layout.quantizers) {
    const seen = observed.get(name)!;
    const norm = listing.linears.find((l) => l.name === name)?.norm;
    // A norm without bias cannot take the shift.
    if (fold && norm !== undefined && parameters.has(`${norm}.bias`))
      for (const tensor of foldedNorm({ listing, parameters }, norm, seen, lowest, options.percentiles))
        tensors.set(...tensor);
    const values = seen.data.slice();
    percentileStart(values, bits, options.percentiles).forEach((grid, i) => {
      tensors.set(`${name}.act_scale.${bits[i]!}`, { shape: [1], data: Float32Array.of(grid.scale) });
      tensors.set(`${name}.act_zero.${bits[i]!}`, { shape: [1], data: Float32Array.of(grid.zero) });
    });
  }
  return tensors;
}

/** Starting values of everything a block's learned tensors hold. @param inputs what the block reads in full precision */
export async function startBlock(
  programs: Programs,
  { part, listing, layout, parameters, side, options, weights: ofLoss }: BlockContext,
  inputs: SampleStore,
): Promise<NamedTensors> {
  const count = seenOf(inputs.samples, options);
  const batch = Math.min(options.batch, count);
  const slices = () => batchesOf(part, inputs, side, Math.min(options.rangeSamples, count), batch);
  const seen = (own: BlockContext['parameters']) =>
    observe(programs, part, layout.quantizers, own, slices(), batch);
  const moments = (own: BlockContext['parameters']) =>
    secondMoments(programs, { part, listing, parameters: own }, slices(), batch, momentPanel(options), {
      ordinary: options.ordinary,
      weights: ofLoss,
    });

  const folds = startActivations(listing, layout, parameters, await seen(parameters), options);
  const smoothed = options.smooth ? await smoothBlock() : undefined;
  const changes = smoothed ?? folds;
  const rescaled = rescaledParameters(parameters, changes);
  const weights = await startWeights(
    programs,
    layout,
    rescaled,
    options,
    part.prefix,
    await moments(rescaled),
  );
  return new Map([...changes, ...weights]);

  /** Smoothing after the folding of norms; the grids are those of the inputs that it leaves. */
  async function smoothBlock(): Promise<NamedTensors> {
    const bits = layout.groups.flatMap((g) => g.bits);
    const groupSizeOf = (b: number) => layout.groupSizes[layout.groups.findIndex((g) => g.bits.includes(b))]!;
    const own = rescaledParameters(parameters, folds);
    const scales = await smooth(programs, { part, listing, parameters: own }, await moments(own), {
      bits,
      groupSizeOf,
    });
    const both = composed(folds, scales);
    if (layout.quantizers.length === 0) return both;
    const after = rescaledParameters(parameters, both);
    const grids = startActivations(listing, layout, after, await seen(after), options, false);
    return new Map([...both, ...grids]);
  }
}

/**
 * Clip logits and adapters: A Kaiming-uniform with a = √5 or Xavier-uniform, B zero (docs/METHOD.md, section 2), drawn
 * from (seed, block, layer).
 */
export async function startWeights(
  programs: Programs,
  layout: AdapterLayout,
  parameters: ReadonlyMap<string, HostTensor>,
  options: Pick<QueptOptions, 'clipStart' | 'adapterStart' | 'seed'>,
  block: string,
  moments: ReadonlyMap<string, Moments>,
): Promise<NamedTensors> {
  const tensors: NamedTensors = new Map();
  for (const { name, in: columns, out } of layout.layers) {
    const random = createRandom(options.seed, 'lora_A', block, name);
    const bound =
      options.adapterStart === 'xavier' ? Math.sqrt(6 / (columns + layout.rank)) : 1 / Math.sqrt(columns);
    const a = Float32Array.from({ length: layout.rank * columns }, () => (2 * random.next() - 1) * bound);
    tensors.set(`${name}.lora_A`, { shape: [layout.rank, columns], data: a });
    tensors.set(`${name}.lora_B`, { shape: [out, layout.rank], data: new Float32Array(out * layout.rank) });
    for (const [g, group] of layout.groups.entries()) {
      const groupSize = layout.groupSizes[g]!;
      const rows = scaleRows({ in: columns, out }, groupSize);
      const paper = () => new Float32Array(rows).fill(PAPER_LOGIT);
      for (const bits of group.bits) {
        const { upper, lower } =
          options.clipStart === 'search'
            ? await searchClip(
                programs,
                parameters.get(`${name}.weight`)!,
                bits,
                moments.get(name)!,
                groupSize,
                layout.halves?.[g],
              )
            : { upper: paper(), lower: paper() };
        tensors.set(`${name}.clip_upper.${bits}`, { shape: [rows, 1], data: upper });
        tensors.set(`${name}.clip_lower.${bits}`, { shape: [rows, 1], data: lower });
      }
    }
  }
  return tensors;
}
