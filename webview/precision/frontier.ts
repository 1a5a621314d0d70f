/** Points of size and cost: which one a budget, a pointer or a plan means, and where they lie in a chart. No DOM. */
import { linearScale, logScale, type Scale } from '../common/scales.js';
import type { FrontierPoint } from './protocol.js';

/** The last point that is no larger; the smallest where none is. Points are in order of their size. */
export function bestWithin(points: readonly FrontierPoint[], bytes: number): number {
  let [low, high] = [0, points.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (points[middle]!.bytes <= bytes) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The point that has exactly these bits. */
export const indexOf = (points: readonly FrontierPoint[], bits: string): number =>
  points.findIndex((point) => point.bits === bits);

export interface Place {
  readonly x: number;
  readonly y: number;
}

export interface ChartLayout {
  readonly plot: {
    readonly left: number;
    readonly top: number;
    readonly right: number;
    readonly bottom: number;
  };
  readonly x: readonly { readonly value: number; readonly at: number }[];
  readonly y: readonly { readonly value: number; readonly at: number }[];
  readonly points: readonly Place[];
  place(value: { readonly bytes: number; readonly cost: number }): Place;
}

const MARGIN = { left: 50, right: 28, top: 10, bottom: 24 };

/** Size along, cost up on a logarithmic scale. `others` are drawn too, so the scales hold them. */
export function chartLayout(
  points: readonly { readonly bytes: number; readonly cost: number }[],
  others: readonly { readonly bytes: number; readonly cost: number }[],
  size: { readonly width: number; readonly height: number },
): ChartLayout {
  const all = [...points, ...others];
  const plot = {
    left: MARGIN.left,
    top: MARGIN.top,
    right: size.width - MARGIN.right,
    bottom: size.height - MARGIN.bottom,
  };
  const count = Math.max(2, Math.floor((plot.right - plot.left) / 76));
  const x = linearScale(
    all.map(({ bytes }) => bytes),
    { count },
  );
  const costs = all.map(({ cost }) => cost);
  const y: Scale = costs.some((cost) => cost > 0) ? logScale(costs) : linearScale(costs);
  const place = ({ bytes, cost }: { readonly bytes: number; readonly cost: number }): Place => ({
    x: plot.left + x.at(bytes) * (plot.right - plot.left),
    y: plot.bottom - y.at(cost) * (plot.bottom - plot.top),
  });
  return {
    plot,
    x: x.ticks.map((value) => ({ value, at: plot.left + x.at(value) * (plot.right - plot.left) })),
    y: y.ticks.map((value) => ({ value, at: plot.bottom - y.at(value) * (plot.bottom - plot.top) })),
    points: points.map(place),
    place,
  };
}

/** The point whose place along is closest: a click anywhere in the plot means one. */
export function nearestAlong(places: readonly Place[], x: number): number {
  let best = 0;
  for (const [i, place] of places.entries())
    if (Math.abs(place.x - x) < Math.abs(places[best]!.x - x)) best = i;
  return best;
}

/** At most `count` of many points, the first and the last among them, for a table to read. */
export function someOf<T>(points: readonly T[], count: number): T[] {
  if (points.length <= count) return [...points];
  return Array.from(
    { length: count },
    (_, i) => points[Math.round((i * (points.length - 1)) / (count - 1))]!,
  );
}
