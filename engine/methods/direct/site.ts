/** The weights that read one input, from its second moment to codes. */
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import { inPhase } from '../phases.js';
import type { KeptTensor } from '../progress.js';
import { elementAt } from '../../backends/columns.js';
import type { Factored } from '../../backends/moment-factor.js';
import {
  beginRounding,
  codesOf,
  continueRounding,
  descend,
  endRounding,
  feedback,
  type Allowed,
} from './feedback.js';
import { asStored, searchGrids, searchShares, type Grids, type Layout } from './grids.js';
import { refitScales } from './refit.js';
import { BASE, hasBase, layoutAt, type DirectLayout } from './settings.js';
import { allowedNear, gridsOfShare, schemeAt, SHARES, storeWeight } from './stored.js';

/** Sweeps of descent before the scales are fitted to the codes, and after (docs/METHOD.md, section 13). */
const SWEEPS = [2, 2] as const;

/** What an error of each column costs once feedback has made up for it: U_jj², [in], columns in their own order. */
export function costOf({ order, upper }: Pick<Factored, 'order' | 'upper'>): Float64Array {
  const cost = new Float64Array(order.length);
  for (const [place, column] of order.entries()) cost[column] = elementAt(upper, place, place) ** 2;
  return cost;
}

/** An input that layers share, as its second moment shows it. */
export interface Site {
  readonly factored: Factored;
  /** H + λI [in, in], as `factored` has it, columns and rows in their own order. */
  readonly moment: Float32Array;
}

/** A weight that is rounded, and one that is stored. */
export interface Rounded {
  readonly weight: GridWeight;
  readonly kept: ReadonlyMap<string, KeptTensor>;
}

/** @param hessian H [in, in], symmetric, that `factored` is of */
export function siteOf(hessian: Float32Array, factored: Factored): Site {
  const { order, moment } = factored;
  const n = order.length;
  const damped = hessian.slice();
  for (const [place, column] of order.entries())
    damped[column * n + column] = elementAt(moment, place, place);
  return { factored, moment: damped };
}

/**
 * A weight at several bit-widths, from one second moment: the base first, where there is one.
 * @param data W [out, in]
 */
export async function roundWidths(
  programs: Programs,
  site: Site,
  data: Float32Array,
  layout: DirectLayout,
  widths: readonly number[],
  signal: AbortSignal,
): Promise<Map<number, Rounded>> {
  const found = new Map<number, Rounded>();
  let base: GridWeight | undefined;
  if (hasBase(layout)) {
    const rounded = await roundWidth(programs, site, data, layout, BASE, undefined, signal);
    base = rounded.weight;
    found.set(BASE, rounded);
  }
  for (const bits of widths)
    if (!found.has(bits)) found.set(bits, await roundWidth(programs, site, data, layout, bits, base, signal));
  return found;
}

/** @param whole W [out, in] @param base the layer's base, where the set has one and this is not it */
export async function roundWidth(
  programs: Programs,
  site: Site,
  whole: Float32Array,
  layout: DirectLayout,
  bits: number,
  base: GridWeight | undefined,
  signal: AbortSignal,
): Promise<Rounded> {
  const own = layoutAt(layout, bits);
  const scheme = schemeAt(layout, bits);
  const columns = site.factored.order.length;
  const data = withoutDead(whole, site.factored);
  const values = scheme !== 'codes' && base ? toFloats(base) : undefined;
  const allowedBy = (grids: Grids): Allowed | undefined =>
    values && scheme !== 'codes' ? allowedNear(values, columns, own, scheme, grids) : undefined;
  const cost = costOf(site.factored);
  if (scheme === 'up') {
    const share = await inPhase('search', () =>
      searchShares(data, cost, bits, SHARES, (shares) => gridsOfShare(base!, bits, shares)),
    );
    const grids = gridsOfShare(base!, bits, share);
    const allowed = allowedBy(grids);
    const weight = await roundOn(programs, site, data, own, grids, allowed, SWEEPS[0] + SWEEPS[1], signal);
    return inPhase('storing', () => ({ weight, kept: storeWeight(layout, weight, allowed, share) }));
  }
  const searched = await inPhase('search', () => searchGrids(data, cost, own, asStored));
  const weight = await roundAndFit(programs, site, data, own, searched, allowedBy, signal);
  return inPhase('storing', () => ({
    weight,
    kept: storeWeight(layout, weight, allowedBy(weight), undefined),
  }));
}

/** What an input that was never active is multiplied by counts as zero. */
const withoutDead = (data: Float32Array, { order, dead }: Factored): Float32Array =>
  dead.size === 0 ? data : data.map((x, i) => (dead.has(i % order.length) ? 0 : x));

async function roundOn(
  programs: Programs,
  { factored }: Site,
  data: Float32Array,
  layout: Layout,
  grids: Grids,
  allowed: Allowed | undefined,
  sweeps: number,
  signal: AbortSignal,
): Promise<GridWeight> {
  const rounding = beginRounding(data, factored, layout, grids, allowed);
  try {
    await feedback(programs, rounding, factored, signal);
    for (let i = 0; i < sweeps; i++) await descend(programs, rounding, factored, signal);
    return gridWeight(codesOf(rounding, factored.order), data, layout, grids, factored);
  } finally {
    endRounding(rounding);
  }
}

/** Feedback, descent, the best scales for the codes, and descent on these. */
async function roundAndFit(
  programs: Programs,
  { factored, moment }: Site,
  data: Float32Array,
  layout: Layout,
  grids: Grids,
  allowedBy: (grids: Grids) => Allowed | undefined,
  signal: AbortSignal,
): Promise<GridWeight> {
  const { order } = factored;
  const fit = async (codes: Uint8Array, before: Grids): Promise<Grids> => {
    const steps = stepsOf(gridWeight(codes, data, layout, before, factored));
    const { scale, zero } = before;
    return {
      scale: await inPhase('refit', () =>
        refitScales(programs, data, steps, moment, layout, scale, signal, asStored),
      ),
      zero,
    };
  };
  const first = beginRounding(data, factored, layout, grids, allowedBy(grids));
  try {
    await feedback(programs, first, factored, signal);
    for (let i = 0; i < SWEEPS[0]; i++) await descend(programs, first, factored, signal);
    const fitted = await fit(codesOf(first, order), grids);
    const allowed = allowedBy(fitted);
    const second = continueRounding(first, factored, fitted, allowed);
    for (let i = 0; i < SWEEPS[1]; i++) await descend(programs, second, factored, signal);
    const codes = codesOf(second, order);
    // What codes count from moves with the scales, so that these stay where there is a base.
    return gridWeight(codes, data, layout, allowed ? fitted : await fit(codes, fitted), factored);
  } finally {
    endRounding(first);
  }
}

function gridWeight(
  codes: Uint8Array,
  data: Float32Array,
  { bits, groupSize }: Layout,
  { scale, zero }: Grids,
  { order }: Factored,
): GridWeight {
  const columns = order.length;
  return { kind: 'grid', shape: [data.length / columns, columns], bits, codes, groupSize, scale, zero };
}

/** codes − zero, [out, in]. */
const stepsOf = (weight: GridWeight): Float32Array =>
  toFloats({ ...weight, scale: new Float32Array(weight.scale.length).fill(1) });
