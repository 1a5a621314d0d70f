/**
 * Which bit-width each layer gets: the plans of least summed cost for every size, from one solve (method, section 6,
 * where it is a dynamic programme over sums of bits).
 */
import { UserError } from '../errors.js';
import type { Budget } from '../protocol/protocol.js';
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
  /** The sum of the layers' bits, the sum of bits over all weights, or bytes; where sizes are rounded, at least that. */
  readonly size: number;
  readonly cost: number;
  /** A digit a layer; computed when it is read. */
  readonly bits: string;
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
  readonly size: number;
  readonly cost: number;
}

/** Sizes that are told apart, and comparisons made, before sizes are rounded up to a larger unit. */
const MAX_SIZES = 1 << 20;
const MAX_WORK = 2 ** 31;
/** With so few sizes every comparison is made. */
const FEW_SIZES = 1 << 14;

/**
 * Sizes are told apart in units of their greatest common divisor. Where that makes more than 2^20 sizes, or more than 2^31
 * comparisons, they are rounded up to larger units, eightfold each time. Throws UserError where a layer is left no bit-width.
 * @param bits offered bit-widths, 2 to 9
 */
export function solve(bits: readonly number[], layers: readonly AllocationLayer[], kind: Budget): Frontier {
  const own = optionsOf(bits, layers, kind);
  const least = own.reduce((sum, options) => sum + options[0]!.size, 0);
  const floor = own.reduce((sum, options) => sum + options.at(-1)!.cost, 0);
  const steps = own.flatMap((options) => options.map((o) => o.size - options[0]!.size));
  const divisor = steps.reduce(gcd, 0) || 1;
  const range = own.reduce((sum, options) => sum + options.at(-1)!.size - options[0]!.size, 0);

  for (let unit = divisor; ; unit *= 8) {
    const sizes = range / unit;
    if (sizes > MAX_SIZES) continue;
    const merged = mergeAll(
      own.map((options) => inUnits(options, unit)),
      sizes <= FEW_SIZES ? Infinity : MAX_WORK,
    );
    if (!merged) continue;
    const points = merged.sizes.map((size, i): FrontierPoint => {
      let found: string | undefined;
      return {
        size: least + size * unit,
        cost: floor + merged.costs[i]!,
        get bits() {
          return (found ??= digits(own, merged.choices(size)));
        },
      };
    });
    return { points, exact: unit === divisor, unit };
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

/** The options of each layer that may be part of a best plan, from the smallest on. */
function optionsOf(bits: readonly number[], layers: readonly AllocationLayer[], kind: Budget): Option[][] {
  return layers.map((layer, i) => {
    const allowed = bits.flatMap((width, b) =>
      allows(layer, width)
        ? [{ bits: width, size: sizeAt(layer, kind, width, b), cost: layer.cost[b]! }]
        : [],
    );
    if (allowed.length > 0) return undominated(allowed);
    const name = layer.name ?? `layer ${i + 1}`;
    throw new UserError(
      `No bit-width is left for ${name}: its limits exclude one another, or all that the set has.`,
    );
  });
}

const allows = ({ min = 0, max = 9, fixed }: AllocationLayer, bits: number) =>
  bits >= min && bits <= max && (fixed === undefined || bits === fixed);

function sizeAt({ size, weights }: AllocationLayer, kind: Budget, bits: number, b: number): number {
  if (kind === 'bytes') return size[b]!;
  return kind === 'average-bits' ? bits : bits * weights;
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

const digits = (layers: readonly (readonly Option[])[], choices: Uint8Array): string =>
  layers.map((options, i) => options[choices[i]!]!.bits).join('');

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
