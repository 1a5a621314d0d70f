/** Parameters of a model with a set, as the constants of a network. */
import type { LinearEntry } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import { toFloats } from '../../quantized/weight.js';
import { distanceOf } from '../distance.js';
import type { ExportContext } from '../exporter.js';
import { exportedBits, exportedForm, exportedWeight } from '../layer-weight.js';
import { partReader } from '../parameters.js';
import { containerName, heldIn, nbitsFor, nbitsShapes, packNBits, type NBits } from './nbits.js';
import { bytesOf, type Stored } from './network.js';

/** The three constants of a quantized weight. */
export interface PackedConstants extends NBits {
  readonly integers: Stored;
  readonly scales: Stored;
  readonly zeros: Stored;
}

export interface Constants {
  /** A parameter as it is, transforms applied. @param turned whether a matrix has its columns first */
  parameter(part: Part, local: string, shape: readonly number[], turned?: boolean): Stored;
  /** A layer's weight at its bits; undefined where it stays in floating point. */
  packed(part: Part, layer: LinearEntry): PackedConstants | undefined;
}

export function constantsOf(context: ExportContext): Constants {
  const parametersOf = partReader(context);
  let last: { readonly name: string; readonly packed: ReturnType<typeof packNBits> } | undefined;
  const pack = async (part: Part, layer: LinearEntry, nbits: NBits) => {
    const name = part.prefix + layer.name;
    if (last?.name === name) return last.packed;
    last = undefined;
    const parameters = await parametersOf(part);
    const weight = (await exportedWeight(context, part, layer, parameters))!;
    const held = heldIn(weight, nbits);
    const own = parameters.get(`${layer.name}.weight`)!.data;
    const distance = held === weight ? 0 : distanceOf(toFloats(held), toFloats(weight), own);
    context.hooks.fit({ tensor: name, container: containerName(nbits), distance });
    last = { name, packed: packNBits(held, nbits) };
    return last.packed;
  };
  return {
    parameter: (part, local, shape, turned = false) => ({
      name: part.prefix + local,
      dataType: 'float32',
      shape: turned ? [...shape].reverse() : shape,
      data: async () => {
        const { data } = (await parametersOf(part)).get(local)!;
        return bytesOf(turned ? transposed(data, shape[1]!) : data);
      },
    }),
    packed: (part, layer) => {
      if (exportedBits(context, part, layer) === undefined) return undefined;
      const form = exportedForm(context, part, layer);
      const nbits = nbitsFor(form);
      const shapes = nbitsShapes(nbits, form);
      const constant = (kind: keyof typeof shapes): Stored => ({
        name: `${part.prefix}${layer.name}.${kind}`,
        dataType: kind === 'scales' ? 'float32' : 'uint8',
        shape: shapes[kind],
        data: async () => bytesOf((await pack(part, layer, nbits))[kind]),
      });
      return {
        ...nbits,
        integers: constant('integers'),
        scales: constant('scales'),
        zeros: constant('zeros'),
      };
    },
  };
}

function transposed(data: Float32Array, columns: number): Float32Array {
  const rows = data.length / columns;
  return Float32Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]!);
}
