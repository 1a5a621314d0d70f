/** What can be set about a QuEPT calibration, the paper's settings and the defaults, and bit lists read from text. */
import { UserError } from '../../errors.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { Mode } from '../../protocol/protocol.js';
import { PERCENTILES } from '../../execution/activation-ranges.js';
import type { BitGroup } from './adapters.js';
import { mergeWeights, type MergeMode } from './merge.js';
import type { ElasticSettings } from './source.js';
import type { Weighting } from '../loss-weights.js';
import type { StateKind } from './state.js';
import type { Storage } from './stored.js';
import type { Apart } from './step.js';

/** Below it a learned grid is nothing but a sign. */
export const MIN_BITS = 2;

export interface QueptOptions {
  readonly mode: Mode;
  /** From high to low precision; ranks do not fall. */
  readonly groups: readonly BitGroup[];
  readonly samples: number;
  readonly epochs: number;
  readonly batch: number;
  readonly rates: Readonly<Record<StateKind, number>>;
  /** Share of the learning rates that the cosine decay ends at. */
  readonly finalRate: number;
  readonly loss: 'mae' | 'mse';
  readonly merge: MergeMode;
  /** p: the share of a sample's tokens that keep the highest group's feature. */
  readonly keep: number;
  /** λ, high to low. */
  readonly mergeWeights: readonly number[];
  /** `paper`: σ(4) of the range at every bit-width. `search`: per row and bit-width the range of least squared error. */
  readonly clipStart: 'paper' | 'search';
  /** Whether input channels are scaled before weights are quantized, as AWQ does (`smooth.ts`). */
  readonly smooth: boolean;
  readonly apart: Apart;
  /** Whether tokens with massive activations count as the largest ordinary ones would. */
  readonly ordinary: boolean;
  /** What tokens count in moments and losses. */
  readonly weighting: Weighting;
  /** Whether a bit-width that calibration did not improve keeps its start (`guard.ts`). */
  readonly guard: boolean;
  readonly percentiles: readonly number[];
  /** Samples looked at for the start of activation scales. */
  readonly rangeSamples: number;
  /** Weight-only: input columns that share a scale at 4 bits and below; -1 for whole rows. */
  readonly groupSize: number;
  /** The highest bit-width whose zero points are halves; 0 for none. */
  readonly halfZeros: number;
  /** 2 to 8; 16 leaves them in floating point. */
  readonly embeddingBits: number;
  readonly headBits: number;
  /** `static`: learned grids, starting at percentiles. `dynamic`: per token, as they come. Weight-only: of no effect. */
  readonly activations: 'static' | 'dynamic';
  /** Whether the model is rotated first (`../rotation`). */
  readonly rotate: boolean;
  /** Of keys and values in the cache, 2 to 8; 16 leaves them in floating point. */
  readonly kvBits: number;
  /** How A is drawn: `kaiming`-uniform with a = √5, or `xavier`-uniform. */
  readonly adapterStart: 'kaiming' | 'xavier';
  /** Share of the samples, the last ones, that nothing is trained on: learning stops, and the guard judges, by them. */
  readonly heldOut: number;
  /** Whether adapters of low bit groups are computed before they are trained (`computed-start.ts`). */
  readonly computed: boolean;
  /** How the set stores adapters and clip logits; the calibration goes on with what is stored. */
  readonly storage: Storage;
  readonly seed: number;
}

/** The paper's settings for ViT, weights and activations (docs/METHOD.md, sections 2 and 4). */
export const PAPER_VIT: QueptOptions = {
  mode: 'weight-activation',
  groups: bitGroups([[7, 8], [5, 6], [4]]),
  samples: 1024,
  epochs: 20,
  batch: 32,
  rates: { lora: 1e-3, clip: 1e-2, scale: 1e-4 },
  finalRate: 0,
  loss: 'mae',
  merge: 'selective',
  keep: 0.5,
  mergeWeights: mergeWeights(3),
  clipStart: 'paper',
  smooth: false,
  apart: 'none',
  ordinary: false,
  weighting: 'plain',
  guard: false,
  percentiles: PERCENTILES,
  rangeSamples: 256,
  groupSize: -1,
  halfZeros: 0,
  embeddingBits: 8,
  headBits: 8,
  activations: 'static',
  rotate: false,
  kvBits: 16,
  adapterStart: 'kaiming',
  heldOut: 0,
  computed: false,
  storage: 'float32',
  seed: 0,
};

/**
 * The paper's settings for language models, weights only (docs/METHOD.md, sections 2 and 4); embedding and head stay
 * as they are.
 */
export const PAPER_TEXT: QueptOptions = {
  ...PAPER_VIT,
  mode: 'weight-only',
  groups: bitGroups([[7, 8], [5, 6], [3, 4], [2]]),
  samples: 128,
  epochs: 15,
  batch: 2,
  rates: { lora: 7e-4, clip: 2e-2, scale: 0 },
  finalRate: 0.01,
  mergeWeights: mergeWeights(4),
  groupSize: 128,
  embeddingBits: 16,
  headBits: 16,
};

/** The paper's settings for language models, weights and activations (docs/METHOD.md, sections 2 to 4). */
export const PAPER_TEXT_ACTIVATIONS: QueptOptions = {
  ...PAPER_TEXT,
  mode: 'weight-activation',
  groups: bitGroups([[7, 8], [5, 6], [4]], 64),
  rates: { lora: 7e-5, clip: 1e-1, scale: 0 },
  mergeWeights: mergeWeights(3),
  groupSize: -1,
  activations: 'dynamic',
  rotate: true,
  adapterStart: 'xavier',
};

/** What does best by our own measurements (docs/FIGURES.md), for pictures and for text. */
export const DEFAULT_VIT: QueptOptions = {
  ...PAPER_VIT,
  percentiles: [0.9, 0.95, 0.97, 0.98, 0.99, 0.995, ...PERCENTILES],
  clipStart: 'search',
  merge: 'drawn',
  apart: 'lowest',
  guard: true,
};
export const DEFAULT_TEXT: QueptOptions = {
  ...PAPER_TEXT,
  // What is learned for the grid of 3 bits is noise on that of 4: together, one of them pays.
  groups: bitGroups([[7, 8], [5, 6], [4], [3], [2]], [16, 32, 64, 112, 208]),
  apart: 'all',
  ordinary: true,
  mergeWeights: mergeWeights(5),
  smooth: true,
  clipStart: 'search',
  // From a searched start the paper's rates are noise at high bit-widths, and its loss overlooks the few large errors.
  rates: { lora: 3e-4, clip: 4e-3, scale: 0 },
  loss: 'mse',
  merge: 'off',
  guard: true,
  heldOut: 0.1,
  computed: true,
  halfZeros: 3,
  storage: 'int8',
};
export const DEFAULT_TEXT_ACTIVATIONS: QueptOptions = {
  ...PAPER_TEXT_ACTIVATIONS,
  groups: bitGroups([[7, 8], [5, 6], [4]]),
  rates: { lora: 7e-4, clip: 2e-2, scale: 0 },
  ordinary: true,
  merge: 'drawn',
  guard: true,
};

/**
 * Times as many directions that a group with this lowest bit-width adds when it trains no others (docs/METHOD.md,
 * section 2).
 */
const MORE_DIRECTIONS: Readonly<Record<number, number>> = { 4: 2, 3: 3, 2: 6 };

/** Ranks of bit groups, high to low, when each adds `step` directions, and those apart from the others more. */
export function ranksOf(groups: readonly (readonly number[])[], step: number, apart: Apart): number[] {
  let rank = 0;
  return groups.map((bits, g) => {
    const isLowest = g > 0 && g === groups.length - 1;
    if (apart === 'all') rank += step * (MORE_DIRECTIONS[Math.min(...bits)] ?? 1);
    else rank += apart === 'lowest' && isLowest ? 3 * step : step;
    return rank;
  });
}

/** Groups with ranks: `ranks` more directions each, or the ranks given. */
export function bitGroups(
  bits: readonly (readonly number[])[],
  ranks: number | readonly number[] = 16,
): BitGroup[] {
  return bits.map((group, g) => ({
    bits: [...group].sort((a, b) => a - b),
    rank: typeof ranks === 'number' ? ranks * (g + 1) : ranks[g]!,
    gain: 1,
  }));
}

/** Input columns that share a weight scale, for each bit group: `groupSize` where all its bit-widths are 4 or less. */
export const groupSizesOf = ({ groups, groupSize }: Pick<QueptOptions, 'groups' | 'groupSize'>): number[] =>
  groups.map(({ bits }) => (Math.max(...bits) <= 4 ? groupSize : -1));

/** Of so many samples how many, the first ones, are trained on. */
export function seenOf(samples: number, { heldOut }: Pick<QueptOptions, 'heldOut'>): number {
  if (heldOut === 0 || samples < 2) return samples;
  return samples - Math.min(samples - 1, Math.max(1, Math.round(samples * heldOut)));
}

/** For each bit group whether zero points are halves: where those of all its bit-widths may be. */
export const halvesOf = ({ groups, halfZeros }: Pick<QueptOptions, 'groups' | 'halfZeros'>): boolean[] =>
  groups.map(({ bits }) => Math.max(...bits) <= halfZeros);

/** The bit-widths whose zero points are halves, from high to low. */
export const halfWidths = (options: Pick<QueptOptions, 'groups' | 'halfZeros'>): number[] =>
  options.groups.flatMap(({ bits }, g) => (halvesOf(options)[g] ? bits : [])).sort((a, b) => b - a);

/** How blocks run that are calibrated with these options. */
export const settingsOf = (options: QueptOptions): ElasticSettings => ({
  groups: options.groups,
  groupSizeOf: (_layer, bits) =>
    groupSizesOf(options)[options.groups.findIndex((group) => group.bits.includes(bits))] ?? -1,
  hasHalves: (bits) => halfWidths(options).includes(bits),
  isActivationQuantized: options.mode === 'weight-activation',
  embeddingBits: options.embeddingBits,
  headBits: options.headBits,
  cacheBits: options.kvBits <= MAX_BITS ? options.kvBits : undefined,
});

/**
 * The default grouping of a set of bit-widths: pairs from the top, the lowest alone where it can be ({8,7} {6,5} {4}), and
 * 4 bits and less each alone where groups train their own directions only.
 */
export function defaultGroups(bits: readonly number[], apart: Apart = 'none'): number[][] {
  const descending = [...bits].sort((a, b) => b - a);
  const paired = apart === 'all' ? descending.filter((b) => b > 4) : descending;
  const groups: number[][] = [];
  for (let i = 0; i < paired.length; i += 2) groups.push(paired.slice(i, i + 2).sort((a, b) => a - b));
  if (apart === 'all') return [...groups, ...descending.slice(paired.length).map((b) => [b])];
  const last = groups.at(-1)!;
  if (last.length === 2 && groups.length > 1) groups.splice(-1, 1, [last[1]!], [last[0]!]);
  return groups;
}

/** Bit-widths from text such as `4-8` or `2,4,8`, from high to low. */
export function parseBits(text: string): number[] {
  const bits = new Set<number>();
  for (const item of text.split(',')) {
    const range = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(item);
    const [from, to] = range ? [Number(range[1]), Number(range[2] ?? range[1])] : [NaN, NaN];
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    if (!(low >= MIN_BITS && high <= MAX_BITS))
      throw new UserError(
        `"${text}" is not a list of bit-widths; write 4-8 or 2,4,8, with widths from ${MIN_BITS} to ${MAX_BITS}.`,
      );
    for (let b = low; b <= high; b++) bits.add(b);
  }
  return [...bits].sort((a, b) => b - a);
}

/** Groups from text such as `7,8/5,6/4`, high to low. */
export function parseGroups(text: string): number[][] {
  return text
    .split('/')
    .map(parseBits)
    .map((bits) => bits.sort((a, b) => a - b));
}

/** Throws UserError on settings that contradict each other. */
export function checkOptions(options: QueptOptions): void {
  const { groups } = options;
  const fail = (problem: string): never => {
    throw new UserError(`Calibration settings: ${problem}.`);
  };
  if (groups.length === 0 || groups.some((g) => g.bits.length === 0))
    fail('every bit group needs a bit-width');
  const all = groups.flatMap((g) => [...g.bits].reverse());
  if (all.some((b) => !Number.isInteger(b) || b < MIN_BITS || b > MAX_BITS))
    fail(`bit-widths are whole numbers from ${MIN_BITS} to ${MAX_BITS}`);
  if (all.some((b, i) => i > 0 && b >= all[i - 1]!))
    fail('bit groups go from high to low and share no bit-width');
  if (
    groups.some((g, i) => !Number.isInteger(g.rank) || g.rank < (groups[i - 1]?.rank ?? 0)) ||
    groups.at(-1)!.rank === 0
  )
    fail('ranks are whole numbers that do not fall from one bit group to the next, the last above 0');
  if (options.mergeWeights.length !== groups.length)
    fail(`${groups.length} bit groups need as many merge weights, not ${options.mergeWeights.length}`);
  if (!(Math.abs(options.mergeWeights.reduce((a, b) => a + b, 0) - 1) <= 1e-6))
    fail('merge weights must add up to 1');
  if (!(options.keep >= 0 && options.keep <= 1)) fail('the share of kept tokens lies between 0 and 1');
  for (const key of ['samples', 'epochs', 'batch', 'rangeSamples'] as const)
    if (!Number.isInteger(options[key]) || options[key] < 1) fail(`"${key}" must be a positive whole number`);
  const cached = options.kvBits <= MAX_BITS;
  if (!Number.isInteger(options.kvBits) || options.kvBits < MIN_BITS)
    fail(`keys and values are kept at ${MIN_BITS} to ${MAX_BITS} bits`);
  if (options.mode === 'weight-only' && (cached || options.rotate))
    fail(`${cached ? 'a quantized cache' : 'a rotation'} needs the mode weight-activation`);
  if (Object.values(options.rates).some((r) => !(r >= 0 && r < 10)))
    fail('learning rates lie between 0 and 10');
}
