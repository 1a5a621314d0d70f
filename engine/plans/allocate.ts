/**
 * Which bit-width each layer gets: the plans of least summed cost for every size, from one solve (docs/METHOD.md,
 * section 6; in the paper it is a dynamic programme over sums of bits).
 */
import { UserError } from '../errors.js';
import type { Budget } from '../protocol/protocol.js';
import { MAX_BITS, MIN_BITS } from './bits.js';
import { mergeAll, type Choices } from './frontier.js';

export interface AllocationLayer {
  readonly name?: string;
  /** At each of the bit-widths; finite, and not necessarily falling. */
  readonly cost: readonly number[];
  /** Bytes at each of them, whole numbers. */
  readonly size: readonly number[];
  readonly weights: number;
  readonly min?: number;
  readonly max?: number;
  readonly fixed?: number;
}

export interface FrontierPoint {
  /** The sum of bits over all weights, or bytes; where sizes are rounded, at least that. */
  readonly size: number;
  readonly cost: number;
  /** Of each layer, computed anew each time. */
  readonly bits: () => number[];
}

export interface Frontier {
  /** Non-dominated, sizes rising and costs falling; the first is the smallest possible. */
  readonly points: readonly FrontierPoint[];
  /** Whether no better plan exists for any size (costs compared to a relative 1e-14). */
  readonly exact: boolean;
  /** Sizes above the smallest are multiples of it: the largest such number, or a larger one where not exact. */
  readonly unit: number;
}

/** What a layer can have. */
interface Option {
  readonly bits: number;
  /** In grains. */
  readonly size: number;
  readonly cost: number;
}

/** What sizes are counted in. */
interface Grain {
  /** How many make a bit, or a byte. */
  readonly perUnit: number;
  /** Whether every size is a whole number of them. */
  readonly exact: boolean;
}

const BYTE: Grain = { perUnit: 1, exact: true };
/** Grains to a bit where no larger ones are exact; times the weights of any model they are still whole numbers. */
const FINEST = 10_000;
/** Bits this close to a whole number of grains are one but for the rounding of binary fractions. */
const ROUNDING = 1e-9;

/**
 * Sizes that are told apart, and comparisons made, before sizes are rounded up to a larger unit (docs/METHOD.md,
 * section 6).
 */
const MAX_SIZES = 1 << 20;
const MAX_WORK = 2 ** 31;
/** With so few sizes every comparison is made (docs/METHOD.md, section 6). */
const FEW_SIZES = 1 << 14;

/**
 * Sizes are told apart in units of their greatest common divisor. Where that makes more than 2^20 sizes, or more than 2^31
 * comparisons, they are rounded up to larger units, eightfold each time; so are bits that are not multiples of any common
 * fraction down to 1/10,000. Throws UserError where a layer is left no bit-width.
 * @param bits offered bit-widths, from 1 to 8 and not necessarily whole
 */
export function solve(bits: readonly number[], layers: readonly AllocationLayer[], kind: Budget): Frontier {
  const grain = kind === 'bytes' ? BYTE : grainOf(bits);
  const own = optionsOf(bits, layers, kind, grain);
  const least = own.reduce((sum, options) => sum + options[0]!.size, 0);
  const floor = own.reduce((sum, options) => sum + options.at(-1)!.cost, 0);
  const steps = own.flatMap((options) => options.map((o) => o.size - options[0]!.size));
  const divisor = grain.exact ? steps.reduce(gcd, 0) || 1 : 1;
  const range = own.reduce((sum, options) => sum + options.at(-1)!.size - options[0]!.size, 0);

  for (let unit = divisor; ; unit *= 8) {
    const sizes = range / unit;
    if (sizes > MAX_SIZES) continue;
    const merged = mergeAll(
      own.map((options) => inUnits(options, unit)),
      sizes <= FEW_SIZES ? Infinity : MAX_WORK,
    );
    if (!merged) continue;
    const points = merged.sizes.map((size, i): FrontierPoint => ({
      size: (least + size * unit) / grain.perUnit,
      cost: floor + merged.costs[i]!,
      bits: () => chosenBits(own, merged.choices(size)),
    }));
    return { points, exact: grain.exact && unit === divisor, unit: unit / grain.perUnit };
  }
}

/** The point of least cost within a size; undefined where even the smallest is larger. */
export function best({ points }: Frontier, size: number): FrontierPoint | undefined {
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle]!.size <= size) low = middle + 1;
    else high = middle;
  }
  return points[low - 1];
}

/** What a plan comes to, in the unit of a frontier's points. */
export function planSize(
  bits: readonly number[],
  layers: readonly AllocationLayer[],
  kind: Budget,
  plan: readonly number[],
): number {
  const grain = kind === 'bytes' ? BYTE : grainOf(bits);
  const grains = layers.reduce(
    (sum, layer, i) => sum + sizeAt(layer, kind, grain, plan[i]!, bits.indexOf(plan[i]!)),
    0,
  );
  return grains / grain.perUnit;
}

/** The largest fraction of a bit that all bit-widths are multiples of; the finest one where there is none. */
function grainOf(bits: readonly number[]): Grain {
  const isWhole = (grains: number) => Math.abs(grains - Math.round(grains)) < ROUNDING;
  for (let perUnit = 1; perUnit <= FINEST; perUnit++)
    if (bits.every((width) => isWhole(width * perUnit))) return { perUnit, exact: true };
  return { perUnit: FINEST, exact: false };
}

/** The options of each layer that may be part of a best plan, from the smallest on. */
function optionsOf(
  bits: readonly number[],
  layers: readonly AllocationLayer[],
  kind: Budget,
  grain: Grain,
): Option[][] {
  return layers.map((layer, i) => {
    const allowed = bits.flatMap((width, b) =>
      allows(layer, width)
        ? [{ bits: width, size: sizeAt(layer, kind, grain, width, b), cost: layer.cost[b]! }]
        : [],
    );
    if (allowed.length > 0) return undominated(allowed);
    const name = layer.name ?? `layer ${i + 1}`;
    throw new UserError(
      `No bit-width is left for ${name}: its limits exclude one another, or all that the set has.`,
    );
  });
}

const allows = ({ min = MIN_BITS, max = MAX_BITS, fixed }: AllocationLayer, bits: number) =>
  bits >= min && bits <= max && (fixed === undefined || bits === fixed);

/** In grains. */
function sizeAt(
  { size, weights }: AllocationLayer,
  kind: Budget,
  { perUnit, exact }: Grain,
  bits: number,
  b: number,
): number {
  if (kind === 'bytes') return size[b]!;
  return (exact ? Math.round(bits * perUnit) : bits * perUnit) * weights;
}

function undominated(options: readonly Option[]): Option[] {
  const sorted = [...options].sort((a, b) => a.size - b.size || a.cost - b.cost);
  const kept: Option[] = [];
  for (const option of sorted) if (kept.length === 0 || option.cost < kept.at(-1)!.cost) kept.push(option);
  return kept;
}

/** Options from the smallest on, costs above the least. Where two round to one size, the cheaper one stays. */
function inUnits(options: readonly Option[], unit: number): Choices {
  const choices = { sizes: [] as number[], costs: [] as number[], options: [] as number[] };
  for (const [i, { size, cost }] of options.entries()) {
    const steps = Math.ceil((size - options[0]!.size) / unit);
    const at = choices.sizes.at(-1) === steps ? choices.sizes.length - 1 : choices.sizes.length;
    choices.sizes[at] = steps;
    choices.costs[at] = cost - options.at(-1)!.cost;
    choices.options[at] = i;
  }
  return choices;
}

const chosenBits = (layers: readonly (readonly Option[])[], choices: Uint8Array): number[] =>
  layers.map((options, i) => options[choices[i]!]!.bits);

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
