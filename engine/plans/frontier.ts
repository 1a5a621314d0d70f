/**
 * The least cost for every size of a choice among options in each of many groups: groups are merged in pairs, and the
 * merged ones again, each a function from sizes to costs.
 *
 * The least cost of a pair within S is the minimum over i of f(i) + g(S − i). The lower convex hulls of f and g bound it
 * from below by a function that is convex in i, so that the search goes outward from that bound's minimum and ends on
 * either side where the bound is at least the best sum so far. Costs near their hulls, as those of many layers are,
 * take a few comparisons per size; any costs take at most all of them.
 */

/** Options of one group by rising size: sizes are whole numbers from 0, costs fall to 0. */
export interface Choices {
  readonly sizes: readonly number[];
  readonly costs: readonly number[];
  /** What each stands for. */
  readonly options: readonly number[];
}

export interface Merged {
  /** Sizes at which the cost falls, from 0. */
  readonly sizes: readonly number[];
  readonly costs: readonly number[];
  /** The option of every group in a cheapest choice of at most this size. */
  choices(size: number): Uint8Array;
}

/** A group, or several merged: the least cost within every size from 0 to the largest that is of use. */
type Tree = Leaf | Pair;

interface Leaf {
  readonly groups: 1;
  readonly last: number;
  readonly choices: Choices;
}

interface Pair {
  readonly groups: number;
  readonly last: number;
  readonly left: Tree;
  readonly right: Tree;
  /** Of each size, what the left takes. */
  readonly split: Int32Array;
}

interface Solved {
  readonly tree: Tree;
  readonly costs: Float64Array;
}

/** Sums that differ by less, relatively, are the same but for the order of summation (docs/METHOD.md, section 6). */
const SAME = 1 - 1e-14;

/** Undefined where it would take more than `work` comparisons. Memory: 4 bytes for each size and level of the pairing. */
export function mergeAll(groups: readonly Choices[], work: number): Merged | undefined {
  const left = { work };
  const { tree, costs } = mergeRange(groups, 0, groups.length, left);
  if (left.work < 0) return undefined;
  const sizes = fallsOf(costs);
  return {
    sizes,
    costs: sizes.map((size) => costs[size]!),
    choices: (size) => {
      const found = new Uint8Array(groups.length);
      collect(tree, Math.min(size, tree.last), 0, found);
      return found;
    },
  };
}

function mergeRange(groups: readonly Choices[], from: number, to: number, left: { work: number }): Solved {
  if (to - from === 0) return leafOf({ sizes: [0], costs: [0], options: [0] });
  if (to - from === 1) return leafOf(groups[from]!);
  const middle = (from + to) >> 1;
  return merge(mergeRange(groups, from, middle, left), mergeRange(groups, middle, to, left), left);
}

function leafOf(choices: Choices): Solved {
  const last = choices.sizes.at(-1)!;
  const costs = new Float64Array(last + 1);
  for (let at = 0, size = 0; size <= last; size++) {
    if (choices.sizes[at + 1] === size) at++;
    costs[size] = choices.costs[at]!;
  }
  return { tree: { groups: 1, last, choices }, costs };
}

function merge(left: Solved, right: Solved, limit: { work: number }): Solved {
  const last = left.tree.last + right.tree.last;
  const costs = new Float64Array(last + 1);
  const split = new Int32Array(last + 1);
  const tree = {
    groups: left.tree.groups + right.tree.groups,
    last,
    left: left.tree,
    right: right.tree,
    split,
  };
  if (limit.work < 0) return { tree, costs };

  const [f, g] = [left.costs, right.costs];
  const sizes = Int32Array.from(fallsOf(f));
  const [hullF, hullG] = [hullOf(f), hullOf(g)];
  const top = right.tree.last;
  const bound = (at: number, size: number) => hullF[sizes[at]!]! + hullG[Math.min(size - sizes[at]!, top)]!;
  for (let size = 0, start = 0; size <= last && limit.work >= 0; size++) {
    // The minimum of the bound moves to the right alone.
    while (
      start + 1 < sizes.length &&
      sizes[start + 1]! <= size &&
      bound(start + 1, size) <= bound(start, size)
    )
      start++;
    let [least, from] = [Infinity, 0];
    let tried = 0;
    const isTried = (at: number) => {
      if (bound(at, size) >= least * SAME) return false;
      tried++;
      const sum = f[sizes[at]!]! + g[Math.min(size - sizes[at]!, top)]!;
      if (sum < least) [least, from] = [sum, sizes[at]!];
      return true;
    };
    for (let at = start; at >= 0 && isTried(at); at--);
    for (let at = start + 1; at < sizes.length && sizes[at]! <= size && isTried(at); at++);
    costs[size] = least;
    split[size] = from;
    limit.work -= tried;
  }
  return { tree, costs };
}

/** The positions at which a falling function falls, 0 included. */
function fallsOf(costs: Float64Array): number[] {
  const found = [0];
  for (let size = 1; size < costs.length; size++)
    if (costs[size]! < costs[found.at(-1)!]! * SAME) found.push(size);
  return found;
}

/** The largest convex function below, at every position. */
function hullOf(costs: Float64Array): Float64Array {
  const corners = [0];
  const slope = (from: number, to: number) => (costs[to]! - costs[from]!) / (to - from);
  for (const size of fallsOf(costs).slice(1)) {
    while (corners.length > 1 && slope(corners.at(-2)!, corners.at(-1)!) >= slope(corners.at(-1)!, size))
      corners.pop();
    corners.push(size);
  }
  const hull = new Float64Array(costs.length).fill(costs.at(-1)!);
  for (const [i, from] of corners.entries()) {
    const to = corners[i + 1];
    for (let size = from; to !== undefined && size < to; size++)
      hull[size] = costs[from]! + slope(from, to) * (size - from);
  }
  return hull;
}

function collect(tree: Tree, size: number, first: number, into: Uint8Array): void {
  if ('choices' in tree) {
    const { sizes, options } = tree.choices;
    into[first] = options[sizes.findLastIndex((s) => s <= size)]!;
    return;
  }
  const taken = tree.split[size]!;
  collect(tree.left, taken, first, into);
  collect(tree.right, Math.min(size - taken, tree.right.last), first + tree.left.groups, into);
}
