/**
 * Which bit-width each layer gets: the plans of least summed cost for every size, from one solve (method, section 6,
 * where it is a dynamic programme over sums of bits).
 */
import { UserError } from '../errors.js';
import { mergeAll, type Choices } from './frontier.js';

/** What a budget limits: the mean of the layers' bits, the mean over all weights, or bytes. */
export type Budget = 'average-bits' | 'average-bits-per-weight' | 'bytes';

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
  /** Layers of one number have one bit-width. */
  readonly tied?: number;
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

/** Layers that get one bit-width, and the bit-widths they may get, sizes rising and costs falling. */
interface Group {
  readonly members: readonly number[];
  readonly options: readonly { readonly bits: number; readonly size: number; readonly cost: number }[];
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
  const groups = groupsOf(bits, layers, kind);
  const least = groups.reduce((sum, { options }) => sum + options[0]!.size, 0);
  const floor = groups.reduce((sum, { options }) => sum + options.at(-1)!.cost, 0);
  const steps = groups.flatMap(({ options }) => options.map((o) => o.size - options[0]!.size));
  const divisor = steps.reduce(gcd, 0) || 1;
  const range = groups.reduce((sum, { options }) => sum + options.at(-1)!.size - options[0]!.size, 0);

  for (let unit = divisor; ; unit *= 8) {
    const sizes = range / unit;
    if (sizes > MAX_SIZES) continue;
    const merged = mergeAll(
      groups.map(({ options }) => inUnits(options, unit)),
      sizes <= FEW_SIZES ? Infinity : MAX_WORK,
    );
    if (!merged) continue;
    const points = merged.sizes.map((size, i): FrontierPoint => {
      let found: string | undefined;
      return {
        size: least + size * unit,
        cost: floor + merged.costs[i]!,
        get bits() {
          return (found ??= digits(groups, layers.length, merged.choices(size)));
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

function groupsOf(bits: readonly number[], layers: readonly AllocationLayer[], kind: Budget): Group[] {
  const members = new Map<string, number[]>();
  for (const [i, { tied }] of layers.entries()) {
    const key = tied === undefined ? `layer ${i}` : `tied ${tied}`;
    if (!members.has(key)) members.set(key, []);
    members.get(key)!.push(i);
  }
  return [...members.values()].map((own) => {
    const options = bits.flatMap((width, b) =>
      own.every((i) => allows(layers[i]!, width))
        ? [
            {
              bits: width,
              size: own.reduce((sum, i) => sum + sizeAt(layers[i]!, kind, width, b), 0),
              cost: own.reduce((sum, i) => sum + layers[i]!.cost[b]!, 0),
            },
          ]
        : [],
    );
    if (options.length === 0) throw new UserError(`No bit-width is left for ${namesOf(layers, own)}.`);
    return { members: own, options: undominated(options) };
  });
}

const allows = ({ min = 0, max = 9, fixed }: AllocationLayer, bits: number) =>
  bits >= min && bits <= max && (fixed === undefined || bits === fixed);

function sizeAt({ size, weights }: AllocationLayer, kind: Budget, bits: number, b: number): number {
  if (kind === 'bytes') return size[b]!;
  return kind === 'average-bits' ? bits : bits * weights;
}

function namesOf(layers: readonly AllocationLayer[], members: readonly number[]): string {
  const names = members.map((i) => layers[i]!.name ?? `layer ${i + 1}`);
  if (names.length === 1) return `${names[0]!}: its limits exclude one another, or all that the set has`;
  return `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}, which share one: their limits exclude one another`;
}

function undominated(options: Group['options']): Group['options'] {
  const sorted = [...options].sort((a, b) => a.size - b.size || a.cost - b.cost);
  const kept: Group['options'][number][] = [];
  for (const option of sorted) if (kept.length === 0 || option.cost < kept.at(-1)!.cost) kept.push(option);
  return kept;
}

/** Options from the smallest on, costs above the least. Where two round to one size, the cheaper one stays. */
function inUnits(options: Group['options'], unit: number): Choices {
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

function digits(groups: readonly Group[], layers: number, choices: Uint8Array): string {
  const found = Array<number>(layers);
  for (const [g, { members, options }] of groups.entries())
    for (const i of members) found[i] = options[choices[g]!]!.bits;
  return found.join('');
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
