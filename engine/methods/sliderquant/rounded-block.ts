/** Weights as a window's training leaves them: floats for the streams, and numbers of the grid for the set. */
import { disposeAll } from '../../execution/part.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { LinearEntry } from '../../models/listing.js';
import type { GridWeight } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import type { SliderquantSettings } from './settings.js';
import type { LayerState } from './state.js';
import { codesGraph, roundedColumns, roundedGraph } from './weight.js';

interface At {
  readonly settings: Pick<SliderquantSettings, 'rank'>;
  readonly bits: number;
  readonly groupSize: number;
}

/** The parameters of a block with its layers' weights rounded in so many of their columns. @param share of the columns */
export async function roundedParameters(
  programs: Programs,
  linears: readonly LinearEntry[],
  parameters: ReadonlyMap<string, HostTensor>,
  state: ReadonlyMap<string, LayerState>,
  { settings: { rank }, bits, groupSize, share }: At & { readonly share: number },
): Promise<Map<string, HostTensor>> {
  const found = new Map(parameters);
  for (const layer of linears) {
    const { name, in: columns, out } = layer;
    const rounded = roundedColumns(layer, share, groupSize);
    const sizes = [out, columns, rank, groupSize, rounded] as const;
    const program = await programs.getBuilt(roundedGraph, sizes, `rounding ${out}×${columns}`);
    const weight = parameters.get(`${name}.weight`)!;
    const outputs = await program.run(feedsOf(programs, weight, state.get(name)!, bits));
    const data = (await programs.runtime.read(outputs.weight_q!)).slice();
    disposeAll(outputs);
    found.set(`${name}.weight`, { data, shape: [out, columns] });
  }
  return found;
}

/** A layer's weight as it is stored. */
export async function roundLayer(
  programs: Programs,
  weight: HostTensor,
  state: LayerState,
  { settings: { rank }, bits, groupSize }: At,
): Promise<GridWeight> {
  const [out, columns] = weight.shape as [number, number];
  const program = await programs.getBuilt(codesGraph, [out, columns, rank, groupSize], 'codes', {
    keep: false,
  });
  const outputs = await program.run(feedsOf(programs, weight, state, bits));
  const read = async (name: string) => (await programs.runtime.read(outputs[name]!)).slice();
  const found: GridWeight = {
    kind: 'grid',
    shape: [out, columns],
    bits,
    codes: Uint8Array.from(await read('codes')),
    groupSize,
    scale: await read('scale'),
    zero: await read('zero'),
  };
  disposeAll(outputs);
  return found;
}

function feedsOf(
  { runtime }: Programs,
  weight: HostTensor,
  { a, b, upper, lower }: LayerState,
  bits: number,
) {
  const tensor = ({ data, shape }: HostTensor) => runtime.tensor(data, shape);
  return {
    weight: tensor(weight),
    ...(a && b && { a: tensor(a), b: tensor(b) }),
    upper: tensor(upper),
    lower: tensor(lower),
    levels: runtime.tensor(Float32Array.of(2 ** bits - 1), []),
  };
}
