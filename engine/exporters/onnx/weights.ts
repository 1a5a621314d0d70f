/** Parameters of a model with a set, as the constants of a network. */
import type { LinearEntry } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import type { QuantizedWeight } from '../../quantized/weight.js';
import { roundedCodes } from '../../execution/rounded.js';
import type { OnnxDataType } from '../../formats/onnx.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { WeightForm } from '../../quantized/form.js';
import { toFloats } from '../../quantized/weight.js';
import { distanceOf } from '../distance.js';
import type { ExportContext } from '../exporter.js';
import { exportedBits, exportedForm, exportedWeight } from '../layer-weight.js';
import { partReader } from '../parameters.js';
import { containerFor, containerName, heldIn, quantizesInputs, type Container } from './containers.js';
import { integerShapes, packIntegers } from './integers.js';
import { nbitsShapes, packNBits } from './nbits.js';
import { bytesOf, type Stored } from './network.js';

/** The constants of a quantized weight. */
export type PackedConstants = Container & Readonly<Record<Kind, Stored>>;
type Kind = 'integers' | 'scales' | 'zeros';

export interface Constants {
  /** A parameter as it is, transforms applied. @param turned whether a matrix has its columns first */
  parameter(part: Part, local: string, shape: readonly number[], turned?: boolean): Stored;
  /** A layer's weight at its bits; undefined where it stays in floating point. */
  packed(part: Part, layer: LinearEntry): PackedConstants | undefined;
  /**
   * A matrix that the set has in floating point, rounded to nearest in groups.
   * @param shape [rows, columns] @param groupSize a power of two that divides the columns, 16 to 256
   */
  rounded(
    part: Part,
    local: string,
    shape: readonly [number, number],
    bits: 4 | 8,
    groupSize: number,
  ): Extract<PackedConstants, { kind: 'nbits' }>;
}

export function constantsOf(context: ExportContext): Constants {
  const parametersOf = partReader(context);
  const packing = packer();
  /** @param make the weight @param told whether it is told how the container holds it */
  const weightIn = (
    name: string,
    container: Container,
    make: () => Promise<{ weight: QuantizedWeight; own: Float32Array }>,
    told: boolean,
  ) =>
    packing(name, async () => {
      const { weight, own } = await make();
      const held = heldIn(weight, container);
      const distance = held === weight ? 0 : distanceOf(toFloats(held), toFloats(weight), own);
      if (told) context.hooks.fit({ tensor: name, container: containerName(container), distance });
      return container.kind === 'integers' ? packIntegers(held, container) : packNBits(held, container);
    });
  const ownOf = (parameters: ReadonlyMap<string, HostTensor>, local: string) => parameters.get(local)!.data;
  return {
    parameter: (part, local, shape, turned = false) => ({
      name: part.prefix + local,
      dataType: 'float32',
      shape: turned ? [...shape].reverse() : shape,
      data: async () => {
        const data = ownOf(await parametersOf(part), local);
        return bytesOf(turned ? transposed(data, shape[1]!) : data);
      },
    }),
    packed: (part, layer) => {
      if (exportedBits(context, part, layer) === undefined) return undefined;
      const form = exportedForm(context, part, layer);
      const container = containerFor(form, quantizesInputs(context, part));
      const name = part.prefix + layer.name;
      const make = async () => {
        const parameters = await parametersOf(part);
        const weight = (await exportedWeight(context, part, layer, parameters))!;
        return { weight, own: ownOf(parameters, `${layer.name}.weight`) };
      };
      return constants(name, container, form, () => weightIn(name, container, make, true));
    },
    rounded: (part, local, [out, columns], bits, groupSize) => {
      const form = { kind: 'grid', in: columns, out, bits, groupSize } as const;
      const container = containerFor(form, false) as Extract<Container, { kind: 'nbits' }>;
      const name = part.prefix + local;
      const make = async () => {
        const own = ownOf(await parametersOf(part), local);
        return { weight: await roundedCodes(context.programs, form, own, bits, groupSize), own };
      };
      return constants(name, container, form, () => weightIn(name, container, make, false));
    },
  };
}

type Packed = Readonly<Record<Kind, ArrayBufferView>>;

/** Remembers what was packed last: the tensors of a weight are written one after another. */
function packer(): (name: string, pack: () => Promise<Packed>) => Promise<Packed> {
  let last: { readonly name: string; readonly packed: Packed } | undefined;
  return async (name, pack) => {
    if (last?.name !== name) {
      last = undefined;
      last = { name, packed: await pack() };
    }
    return last.packed;
  };
}

function constants<C extends Container>(
  name: string,
  container: C,
  form: Pick<WeightForm, 'in' | 'out'>,
  packed: () => Promise<Packed>,
): C & Readonly<Record<Kind, Stored>> {
  const shapes = container.kind === 'integers' ? integerShapes(form) : nbitsShapes(container, form);
  const types: Readonly<Record<Kind, OnnxDataType>> = {
    integers: container.kind === 'integers' ? container.type : 'uint8',
    scales: 'float32',
    zeros: 'uint8',
  };
  const constant = (kind: Kind): Stored => ({
    name: `${name}.${kind}`,
    dataType: types[kind],
    shape: shapes[kind],
    data: async () => bytesOf((await packed())[kind]),
  });
  return {
    ...container,
    integers: constant('integers'),
    scales: constant('scales'),
    zeros: constant('zeros'),
  };
}

function transposed(data: Float32Array, columns: number): Float32Array {
  const rows = data.length / columns;
  return Float32Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]!);
}
