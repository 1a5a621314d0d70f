/** Weights as they are trained through their rounding: their order of samples, their rates, and what becomes of them. */
import { createRandom } from '../../data/random.js';
import { everySample } from '../../execution/sample-store.js';
import { UserError } from '../../errors.js';
import { adamScalars } from '../../graph/optimizers.js';
import type { LinearEntry } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import type { Runtime, Tensor } from '../../runtime/session.js';
import type { KeptTensor } from '../progress.js';
import { asStored, codeOf, groupsOf, type Grids } from './grids.js';
import { layoutAt, type DirectSettings } from './settings.js';
import { allowedNear, storeWeight } from './stored.js';
import { BETA2, growthName, weightName } from './train-step.js';

/** What is left of learning rates at the end. */
const FINAL_RATE = 0.01;

/** A layer's weight before it is rounded [out, in], and the scales of its grids. */
export interface Trained {
  readonly weight: Float32Array;
  readonly scale: Float32Array;
}

/** What was trained of each layer of a block. Throws UserError where that is not finite. @param grids what it began on */
export async function readTrained(
  { runtime }: Programs,
  part: Part,
  linears: readonly LinearEntry[],
  state: Readonly<Record<string, Tensor>>,
  grids: ReadonlyMap<string, Grids>,
  bits: number,
): Promise<Map<string, Trained>> {
  const found = new Map<string, Trained>();
  for (const { name } of linears) {
    const growth = await runtime.read(state[growthName(name)]!);
    const scale = grids.get(name)!.scale.map((s, grid) => asStored(s * Math.exp(growth[grid]!)));
    const weight = (await runtime.read(state[weightName(name)]!)).slice();
    if (![weight, scale].every((numbers) => numbers.every(Number.isFinite)))
      throw new UserError(
        `${part.prefix}${name}: training at ${bits} bits became NaN; take --effort default, or another device.`,
      );
    found.set(name, { weight, scale });
  }
  return found;
}

/** The weight on its grids, as near to what was trained as it is stored. @param base the layer's, where it lies near one */
export function roundedTo(
  { weight, scale }: Trained,
  { zero }: Pick<Grids, 'zero'>,
  { in: columns, out }: LinearEntry,
  settings: DirectSettings,
  bits: number,
  base: GridWeight | undefined,
): ReadonlyMap<string, KeptTensor> {
  const layout = layoutAt(settings, bits);
  const { groupSize, halves } = layout;
  const groups = groupsOf(columns, groupSize);
  const perGroup = groupSize === -1 ? columns : groupSize;
  const allowed = base && allowedNear(toFloats(base), columns, layout, 'near', { scale, zero });
  const last = 2 ** bits - 1;
  const codes = Uint8Array.from(weight, (x, i) => {
    const row = Math.floor(i / columns);
    const grid = row * groups + Math.floor((i - row * columns) / perGroup);
    const least = allowed ? allowed.first[i]! : 0;
    return codeOf(x, scale[grid]!, zero[grid]!, halves, least, allowed ? least + allowed.count - 1 : last);
  });
  const found: GridWeight = { kind: 'grid', shape: [out, columns], bits, codes, groupSize, scale, zero };
  return storeWeight(settings, found, allowed, undefined);
}

/** All samples in an order of chance, over and over. */
export function* sampleOrder(
  seed: number,
  block: string,
  bits: number,
  samples: number,
): Generator<number, never> {
  for (let epoch = 0; ; epoch++)
    yield* createRandom(seed, 'order', block, bits, epoch).shuffle(everySample({ samples }));
}

/** Cosine decay over all steps, as Adam takes it. */
export function stepSizes(
  runtime: Runtime,
  step: number,
  steps: number,
  rates: { readonly weight: number; readonly growth: number },
): Record<string, Tensor> {
  const decay = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
  const sizes: Record<string, Tensor> = {};
  for (const kind of ['weight', 'growth'] as const) {
    const { rate, correction } = adamScalars(rates[kind] * decay, step + 1, { beta2: BETA2 });
    sizes[`rate.${kind}`] = runtime.tensor(Float32Array.of(rate), []);
    sizes.correction = runtime.tensor(Float32Array.of(correction), []);
  }
  return sizes;
}
