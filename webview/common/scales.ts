/** Scales of a chart: from values to positions, and the values that stand at its lines. No DOM. */

export interface Scale {
  readonly domain: readonly [number, number];
  readonly ticks: readonly number[];
  readonly logarithmic: boolean;
  /** Position of a value between 0 (start of the domain) and 1 (its end). */
  readonly at: (value: number) => number;
}

/**
 * A scale that holds all values, with about `count` round ticks. `zero` makes a linear scale begin there; shares end at
 * 1 at most.
 */
export function linearScale(
  values: readonly number[],
  { count = 5, zero = false, max = Infinity } = {},
): Scale {
  const [low, high] = extent(zero ? [0, ...values] : values);
  // One value alone still needs a height: a twentieth of itself around it.
  const margin = high > low ? 0 : Math.abs(high) / 20 || 0.5;
  const step = roundStep((high - low + 2 * margin) / Math.max(1, count));
  const first = Math.floor((low - margin) / step + 1e-9);
  const last = Math.ceil((high + margin) / step - 1e-9);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => clean((first + i) * step, step));
  const kept = ticks.filter((tick) => tick <= max);
  const domain = [kept[0]!, kept.at(-1)!] as const;
  return { domain, ticks: kept, logarithmic: false, at: (v) => (v - domain[0]) / (domain[1] - domain[0]) };
}

/** A logarithmic scale over values above zero: ticks at powers of ten, and at 2 and 5 where those are few. */
export function logScale(values: readonly number[]): Scale {
  const positive = values.filter((value) => value > 0);
  const [low, high] = extent(positive);
  const decades = Math.log10(high / low);
  const mantissas = decades > 2.5 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 5];
  const from = Math.floor(Math.log10(low)) - 1;
  const to = Math.ceil(Math.log10(high)) + 1;
  const all = Array.from({ length: to - from + 1 }, (_, i) =>
    mantissas.map((m) => clean(m * 10 ** (from + i), 10 ** (from + i))),
  ).flat();
  const first = all.findLastIndex((tick) => tick <= low * (1 + 1e-9));
  const last = all.findIndex((tick) => tick >= high * (1 - 1e-9));
  const inside = all.slice(Math.max(0, first), Math.max(last, first + 1) + 1);
  const every = Math.ceil(inside.length / 7);
  const domain = [inside[0]!, inside.at(-1)!] as const;
  const span = Math.log(domain[1] / domain[0]);
  return {
    domain,
    ticks: inside.filter((_, i) => i % every === 0),
    logarithmic: true,
    // A zero has no place on it and stands at the start.
    at: (value) => (value > 0 ? Math.max(0, Math.log(value / domain[0]) / span) : 0),
  };
}

/** Logarithmic where the values lie more than a factor of eight apart, as divergences and broken perplexities do. */
export function valueScale(values: readonly number[], options: { readonly share: boolean }): Scale {
  if (options.share) return linearScale(values, { max: 1 });
  const positive = values.filter((value) => value > 0);
  const [low, high] = extent(positive);
  return positive.length > 0 && high / low > 8 ? logScale(values) : linearScale(values);
}

function extent(values: readonly number[]): readonly [number, number] {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return [0, 1];
  return [Math.min(...finite), Math.max(...finite)];
}

/** The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `rough`. */
function roundStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((step) => step >= rough * (1 - 1e-9))!;
}

/** Without the noise of binary fractions, to a thousandth of the step. */
const clean = (value: number, step: number): number =>
  Number(value.toFixed(Math.min(20, Math.max(0, 3 - Math.floor(Math.log10(step))))));
