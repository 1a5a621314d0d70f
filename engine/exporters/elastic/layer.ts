/** A layer as an elastic file holds it: all its tensors, made of the set's weights at every bit-width. */
import { choosingBase } from '../../elastic/base.js';
import { baseValues, firstBeside, nearestCodes, type Base, type Grids } from '../../elastic/codes.js';
import { addedAt, storeDirections, type StoredDirections } from '../../elastic/directions.js';
import { BASE_BITS, directionsOf, rankOf, schemeOf, STORED_BITS, zeroBitsOf } from '../../elastic/layout.js';
import { roundedCodes } from '../../execution/rounded.js';
import { roundToHalf } from '../../formats/floats.js';
import type { LinearEntry } from '../../models/listing.js';
import { packCodes } from '../../quantized/packing.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import { distanceOf } from '../distance.js';
import type { ExportContext } from '../exporter.js';
import { withZeroInside } from '../grids.js';
import type { ElasticPlan } from './plan.js';
import type { Spooled } from './spool.js';

/** Where codes are no set's, but rounded anew as the file is read. */
export const ROUNDED = 'the base, rounded';

/** Scales of float16 are no less. */
const LEAST_HALF = 2 ** -24;

export interface ElasticLayer {
  /** By what follows the layer's name. */
  readonly tensors: ReadonlyMap<string, Spooled>;
  /** How far from the set it will run (`distanceOf`) by bit-width; absent where it runs as the set. */
  readonly distances: ReadonlyMap<number, number>;
}

/**
 * Reports to `context.hooks` what runs otherwise than the set.
 * @param name full @param weight W, transforms applied, [out, in]
 */
export async function elasticLayer(
  context: ExportContext,
  { own }: ElasticPlan,
  name: string,
  layer: LinearEntry,
  weight: Float32Array,
): Promise<ElasticLayer> {
  const { programs, source, hooks } = context;
  const columns = layer.in;
  const weights = new Map<number, GridWeight>();
  for (const bits of source.offered)
    weights.set(bits, withZeroInside((await source.weight(name, bits)) as GridWeight));
  const tensors = new Map<string, Spooled>();
  const distances = new Map<number, number>();
  const trained = schemeOf(own, BASE_BITS) === 'base' ? weights.get(BASE_BITS)! : undefined;
  let base: Base = trained ?? (await roundedCodes(programs, layer, weight, BASE_BITS, -1));
  const directions = await directionsOfLayer();
  const rounded = source.offered.filter((bits) => schemeOf(own, bits) === 'rounded');
  const targets = await Promise.all(rounded.map(targetAt));
  if (targets.length > 0) base = { ...base, codes: choosingBase(base, columns, targets) };
  const values = baseValues(base);
  for (const target of targets) reportFit(target);

  tensors.set('base.codes', base.codes).set('base.scale', base.scale);
  tensors.set('base.zero', Uint8Array.from(base.zero));
  if (directions) {
    tensors.set('lora_A', directions.a).set('lora_A_scale', directions.aScale);
    tensors.set('lora_B', directions.b).set('lora_B_scale', directions.bScale);
  }
  for (const [bits, found] of weights) {
    const scheme = schemeOf(own, bits)!;
    if (scheme === 'base') continue;
    const grids = gridsOf(found);
    const zeroBits = zeroBitsOf(own, bits);
    const parts = zeroBits > bits ? 2 : 1;
    const zeros = Uint8Array.from(grids.zero, (z) => parts * z);
    tensors.set(`scale.${bits}`, grids.scale);
    tensors.set(`zero.${bits}`, packCodes(zeros, zeros.length / layer.out, zeroBits));
    if (scheme === 'codes') tensors.set(`codes.${bits}`, packCodes(found.codes, columns, bits));
    if (scheme !== 'up' && scheme !== 'near') continue;
    const first = firstBeside(values, columns, grids, scheme);
    const counted = found.codes.map((code, i) => code - first[i]!);
    tensors.set(`${scheme}.${bits}`, packCodes(counted, columns, STORED_BITS[scheme]));
  }
  return { tensors, distances };

  async function directionsOfLayer(): Promise<StoredDirections | undefined> {
    const rank = rankOf(own);
    if (rank === 0) return undefined;
    const { a, b } = await source.nearest!.factors(name);
    return storeDirections(a, b, source.nearest!.rank);
  }

  /** As the file will have it: scales of groups are rounded to float16. */
  function gridsOf({ bits, groupSize, scale, zero }: GridWeight): Grids {
    const isRounded = own.scales === 'F16' && groupSize !== -1;
    const halves = (s: number) => Math.max(LEAST_HALF, roundToHalf(s));
    return { bits, groupSize, scale: isRounded ? scale.map(halves) : scale, zero };
  }

  async function targetAt(bits: number) {
    const found = weights.get(bits)!;
    const of = directionsOf(own, BASE_BITS)!;
    const added = await addedAt(programs, directionsOf(own, bits)!, of, () => Promise.resolve(directions!));
    return { ...gridsOf(found), codes: found.codes, added };
  }

  function reportFit({ added, ...target }: Awaited<ReturnType<typeof targetAt>>): void {
    const codes = nearestCodes(added ? values.map((x, i) => x + added[i]!) : values, columns, target);
    if (Buffer.compare(codes, target.codes) === 0) return;
    const stored = toFloats({ kind: 'grid', shape: [layer.out, columns], ...target, codes });
    const distance = distanceOf(stored, toFloats(weights.get(target.bits)!), weight);
    const tensor = `${name} at ${target.bits} bits`;
    hooks.fit({ tensor, container: ROUNDED, distance });
    distances.set(target.bits, distance);
  }
}
