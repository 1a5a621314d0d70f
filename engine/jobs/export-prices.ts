/** Layers at their bit-widths, priced by the bytes that an export format writes. */
import { UserError } from '../errors.js';
import type { PrecisionLayer } from '../protocol/protocol.js';
import type { PlanSize } from './requests.js';

/** Sizes in a format of plans, each the bits of every layer. */
export type SizePlans = (plans: readonly (readonly number[])[]) => Promise<readonly PlanSize[]>;

/** Layers with a cost at each bit-width. */
export interface Priced {
  readonly bits: readonly number[];
  readonly layers: readonly PrecisionLayer[];
  readonly costs: readonly (readonly number[])[];
}

/**
 * At the bit-widths that the format holds, with its bytes: what changes in a file as one layer does. Sums of them are a file's but for
 * what its index and alignment make of many. Throws UserError where it holds none.
 */
export async function pricedByFormat(
  { bits, layers, costs }: Priced,
  sizes: SizePlans,
): Promise<Priced & { readonly otherBytes: number }> {
  const uniform = await sizes(bits.map((width) => layers.map(() => width)));
  const held = bits.flatMap((_, b) => ('bytes' in uniform[b]! ? [b] : []));
  const [least] = held;
  if (least === undefined) throw new UserError((uniform[0] as { readonly refusal: string }).refusal);
  const whole = (uniform[least] as { readonly bytes: number }).bytes;
  /** The first layer of each kind: those of one kind take the same everywhere. */
  const kinds = new Map<string, number>();
  const kindOf = ({ shape, bytes }: PrecisionLayer) => [...shape, ...bytes].join();
  layers.forEach((layer, i) => kinds.has(kindOf(layer)) || kinds.set(kindOf(layer), i));
  const changed = [...kinds].flatMap(([kind, i]) => held.map((b) => ({ kind, i, b })));
  const found = await sizes(changed.map(({ i, b }) => layers.map((_, j) => bits[j === i ? b : least]!)));
  const steps = new Map<string, number[]>();
  changed.forEach(({ kind, i, b }, at) => {
    // Where a format takes bits everywhere or nowhere, what all layers take is shared by weights.
    const size = found[at]!;
    const step = 'bytes' in size ? size.bytes - whole : shareOf(i, b);
    steps.set(kind, [...(steps.get(kind) ?? []), step]);
  });
  const unit = unitOf([...steps.values()].flat(), layers.length);
  const base = layers.map((layer) => layer.bytes[least]!);
  return {
    bits: held.map((b) => bits[b]!),
    layers: layers.map((layer, i) => ({
      ...layer,
      bytes: steps.get(kindOf(layer))!.map((step) => base[i]! + Math.round(step / unit) * unit),
    })),
    costs: costs.map((own) => held.map((b) => own[b]!)),
    otherBytes: whole - base.reduce((a, b) => a + b, 0),
  };

  function shareOf(layer: number, b: number): number {
    const all = layers.reduce((sum, { weights }) => sum + weights, 0);
    const more = (uniform[b] as { readonly bytes: number }).bytes - whole;
    return Math.ceil((more * layers[layer]!.weights) / all);
  }
}

/** Sizes that the allocator tells apart in little time. */
const SIZES = 1 << 15;

/** Steps are rounded to it: exact sums of them are not a file's size either. */
function unitOf(steps: readonly number[], layers: number): number {
  const range = layers * Math.max(1, ...steps.map(Math.abs));
  return 2 ** Math.max(0, Math.ceil(Math.log2(range / SIZES)));
}
