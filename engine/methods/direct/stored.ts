/**
 * How a set keeps the weights of a layer (docs/FORMATS.md). Of several bit-widths above 4 one is whole, the base of 8 bits;
 * the others are its roundings, up or down by a bit each. 4 and 3 bits then lie near its roundings too.
 */
import type { ExpectedTensor } from '../../formats/set.js';
import type { GridForm } from '../../quantized/form.js';
import { packCodes, packedBytes, unpackCodes } from '../../quantized/packing.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import type { KeptTensor } from '../progress.js';
import type { Allowed } from './feedback.js';
import { groupsOf, rounded, type Grids } from './grids.js';
import { BASE, hasBase, layoutAt, LOW_BITS, type DirectLayout } from './settings.js';

/** `codes`: all bits of a code; `near`: 2 bits, from one below the base's rounding down on; `up`: 1 bit, from that on. */
export type Scheme = 'codes' | 'near' | 'up';
const BITS = { near: 2, up: 1 } as const;

export function schemeAt(layout: Pick<DirectLayout, 'offered'>, bits: number): Scheme {
  if (!hasBase(layout) || bits === BASE) return 'codes';
  if (bits > LOW_BITS) return 'up';
  return bits > 2 ? 'near' : 'codes';
}

/** How many codes one can be of, counted from what the 8-bit weight comes to; undefined where it can be any. */
export function besideBase(layout: Pick<DirectLayout, 'offered'>, bits: number): 2 | 4 | undefined {
  const scheme = schemeAt(layout, bits);
  if (scheme === 'codes' || !layout.offered.includes(BASE)) return undefined;
  return scheme === 'up' ? 2 : 4;
}

/** The bit-widths of which something is stored, from high to low: those offered, and the base where there is one. */
export const storedBits = (layout: Pick<DirectLayout, 'offered'>): readonly number[] =>
  hasBase(layout) && !layout.offered.includes(BASE) ? [BASE, ...layout.offered] : layout.offered;

/** Zero points are stored as whole numbers of these parts: halves, where they may be. */
const partsOf = (layout: DirectLayout, bits: number): number => (layoutAt(layout, bits).halves ? 2 : 1);

interface Shape {
  readonly in: number;
  readonly out: number;
}

/** A zero point that may be a half takes a bit more. */
export function formAt(layout: DirectLayout, { in: columns, out }: Shape, bits: number): GridForm {
  const { groupSize, halves } = layoutAt(layout, bits);
  return { kind: 'grid', in: columns, out, bits, groupSize, ...(halves && { zeroBits: bits + 1 }) };
}

/** The tensors of a layer at a bit-width, by what they are. */
export function tensorsAt(
  layout: DirectLayout,
  { in: columns, out }: Shape,
  bits: number,
): Map<string, ExpectedTensor> {
  const scheme = schemeAt(layout, bits);
  const codes = {
    shape: [out, packedBytes(columns, scheme === 'codes' ? bits : BITS[scheme])],
    dtype: 'U8',
  } as const;
  if (scheme === 'up')
    return new Map<string, ExpectedTensor>([
      ['up', codes],
      ['share', { shape: [out, 1], dtype: 'U8' }],
    ]);
  const grids = [out, groupsOf(columns, layoutAt(layout, bits).groupSize)];
  return new Map<string, ExpectedTensor>([
    [scheme, codes],
    ['scale', { shape: grids, dtype: 'BF16', positive: true }],
    ['zero', { shape: grids, dtype: 'U8' }],
  ]);
}

/** A share of the base's range, in 255ths. */
export const SHARES = 255;

/** The grids of a bit-width that rounds the base up or down: a share of its range. @param share [out], in 255ths */
export function gridsOfShare({ scale, zero }: Grids, bits: number, share: ArrayLike<number>): Grids {
  const levels = 2 ** bits - 1;
  const steps = 2 ** BASE - 1;
  return {
    scale: scale.map((s, row) => s * ((steps / levels) * (share[row]! / SHARES))),
    zero: zero.map((z) => rounded((z * levels) / steps)),
  };
}

/** The codes that a bit-width may take where it lies near the base or rounds it. @param base the base's values, [out, in] */
export function allowedNear(
  base: Float32Array,
  columns: number,
  { bits, groupSize }: { readonly bits: number; readonly groupSize: number },
  scheme: 'near' | 'up',
  { scale, zero }: Grids,
): Allowed {
  const count = 2 ** BITS[scheme];
  const before = scheme === 'near' ? 1 : 0;
  const groups = groupsOf(columns, groupSize);
  const perGroup = groupSize === -1 ? columns : groupSize;
  const most = 2 ** bits - count;
  const first = new Uint8Array(base.length);
  for (let i = 0; i < base.length; i++) {
    const row = Math.floor(i / columns);
    const grid = row * groups + Math.floor((i - row * columns) / perGroup);
    const code = Math.floor(base[i]! / scale[grid]! + zero[grid]!) - before;
    first[i] = code < 0 ? 0 : code > most ? most : code;
  }
  return { first, count };
}

/** A weight as it is kept. @param allowed what its codes count from @param share of the base's range, where it rounds it */
export function storeWeight(
  layout: DirectLayout,
  { bits, codes, shape: [out, columns], scale, zero }: GridWeight,
  allowed: Allowed | undefined,
  share: Uint8Array | undefined,
): Map<string, KeptTensor> {
  const scheme = schemeAt(layout, bits);
  const counted = allowed && scheme !== 'codes' ? codes.map((code, i) => code - allowed.first[i]!) : codes;
  const packed = packCodes(counted, columns, scheme === 'codes' ? bits : BITS[scheme]);
  const data: Record<string, KeptTensor['data']> = {
    [scheme]: packed,
    scale,
    zero: Uint8Array.from(zero, (z) => z * partsOf(layout, bits)),
    ...(share && { share }),
  };
  return new Map(
    [...tensorsAt(layout, { in: columns, out }, bits)].map(([what, { shape }]) => [
      what,
      { shape, data: data[what]! },
    ]),
  );
}

/** Tensors of one layer: what is kept of it at a bit-width. */
export type ReadTensor = (what: string, bits: number) => Promise<Float32Array | Uint8Array>;

/** The weight of a layer at a bit-width. */
export async function readWeight(
  layout: DirectLayout,
  shape: Shape,
  bits: number,
  read: ReadTensor,
): Promise<GridWeight> {
  const { in: columns, out } = shape;
  const scheme = schemeAt(layout, bits);
  const own = layoutAt(layout, bits);
  const codes = async (what: Scheme) =>
    unpackCodes((await read(what, bits)) as Uint8Array, columns, what === 'codes' ? bits : BITS[what]);
  const grids = async (): Promise<Grids> => ({
    scale: Float32Array.from(await read('scale', bits)),
    zero: Float32Array.from(await read('zero', bits), (parts) => parts / partsOf(layout, bits)),
  });
  const made = (found: Grids, integers: Uint8Array): GridWeight => ({
    kind: 'grid',
    shape: [out, columns],
    bits,
    codes: integers,
    groupSize: own.groupSize,
    ...found,
  });
  if (scheme === 'codes') return made(await grids(), await codes(scheme));
  const base = await readWeight(layout, shape, BASE, read);
  const found = scheme === 'near' ? await grids() : gridsOfShare(base, bits, await read('share', bits));
  const { first } = allowedNear(toFloats(base), columns, own, scheme, found);
  return made(
    found,
    (await codes(scheme)).map((code, i) => code + first[i]!),
  );
}
