/** How hot a cell is: its sensitivity on a logarithmic scale of ten levels. No DOM. */

export const LEVELS = 10;

/** Below this share of the largest cost everything is as cool. */
const RANGE = 1e-4;

export interface Heat {
  /** 0 (cool) to 9, or undefined where nothing is known. */
  readonly level: (cost: number | undefined) => number | undefined;
  /** Ends of the scale, nats. */
  readonly ends: readonly [number, number];
}

export function heatOf(costs: readonly (readonly number[])[]): Heat {
  let [low, high] = [Infinity, 0];
  for (const row of costs)
    for (const cost of row) {
      if (cost > 0 && cost < low) low = cost;
      if (cost > high) high = cost;
    }
  const from = Math.min(high, Math.max(low, high * RANGE));
  const span = Math.log(high / from);
  return {
    ends: [from, high],
    level: (cost) => {
      if (cost === undefined || !Number.isFinite(cost)) return undefined;
      if (cost <= from || !(span > 0)) return 0;
      return Math.min(LEVELS - 1, Math.floor((Math.log(cost / from) / span) * LEVELS));
    },
  };
}
