/** An elastic file as a source: all its weights are its own, whichever checkpoint it is opened for. */
import { baseValues, firstBeside, nearestCodes, type Base, type Grids } from '../../elastic/codes.js';
import { addedAt } from '../../elastic/directions.js';
import {
  BASE_BITS,
  directionsOf,
  elasticForm,
  schemeOf,
  STORED_BITS,
  zeroBitsOf,
  type ElasticConfig,
} from '../../elastic/layout.js';
import { ownerOf } from '../../elastic/tensors.js';
import { UserError } from '../../errors.js';
import { fixedBits, requireOffered, type QuantizedSource } from '../../execution/source.js';
import type { SetTensors } from '../../formats/set.js';
import { show } from '../../formats/paths.js';
import type { SetConfig } from '../../formats/set-config.js';
import type { Checkpoint, HostTensor } from '../../models/checkpoint.js';
import { storedName } from '../../models/listing.js';
import { blocksOf } from '../../models/model.js';
import { groupsOf } from '../../quantized/form.js';
import { unpackCodes } from '../../quantized/packing.js';
import type { GridWeight } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import { gridName } from '../activation-grids.js';

export function elasticSource(
  programs: Programs,
  checkpoint: Checkpoint,
  config: SetConfig,
  own: ElasticConfig,
  tensors: Pick<SetTensors, 'floats' | 'bytes'>,
): QuantizedSource {
  requireLayers(checkpoint, config);
  const floats = async (name: string) => (await tensors.floats(name)).get('')!.data;
  const signed = async (name: string) => {
    const { buffer, byteOffset, length } = await tensors.bytes(name);
    return new Int8Array(buffer, byteOffset, length);
  };
  const baseOf = async (owner: string): Promise<Base> => ({
    codes: await tensors.bytes(`${owner}.base.codes`),
    scale: await floats(`${owner}.base.scale`),
    zero: await tensors.bytes(`${owner}.base.zero`),
  });
  const gridsOf = async (layer: string, bits: number): Promise<Grids> => {
    const form = elasticForm(own, config, layer, bits);
    const zeroBits = zeroBitsOf(own, bits);
    const parts = zeroBits > bits ? 2 : 1;
    const zero = unpackCodes(await tensors.bytes(`${layer}.zero.${bits}`), groupsOf(form), zeroBits);
    return {
      bits,
      groupSize: form.groupSize,
      scale: await floats(`${layer}.scale.${bits}`),
      zero: Float32Array.from(zero, (z) => z / parts),
    };
  };
  const directionsOfLayer = async (layer: string) => ({
    a: await signed(`${layer}.lora_A`),
    aScale: await floats(`${layer}.lora_A_scale`),
    b: await signed(`${layer}.lora_B`),
    bScale: await floats(`${layer}.lora_B_scale`),
  });

  async function weight(layer: string, bits: number): Promise<GridWeight> {
    requireOffered(config.offered, bits);
    const { in: columns, out } = config.layers[layer]!;
    const head = { kind: 'grid', shape: [out, columns], bits } as const;
    const scheme = schemeOf(own, bits)!;
    const stored = (each: number) =>
      tensors.bytes(`${layer}.${scheme}.${bits}`).then((packed) => unpackCodes(packed, columns, each));
    if (scheme === 'base') {
      const { codes, scale, zero } = await baseOf(layer);
      return { ...head, codes, groupSize: -1, scale, zero: Float32Array.from(zero) };
    }
    const grids = await gridsOf(layer, bits);
    if (scheme === 'codes') return { ...head, ...grids, codes: await stored(bits) };
    const values = baseValues(await baseOf(layer));
    if (scheme === 'rounded') {
      const [wanted, base] = [directionsOf(own, bits)!, directionsOf(own, BASE_BITS)!];
      const added = await addedAt(programs, wanted, base, () => directionsOfLayer(layer));
      added?.forEach((x, i) => (values[i]! += x));
      return { ...head, ...grids, codes: nearestCodes(values, columns, grids) };
    }
    const first = firstBeside(values, columns, grids, scheme);
    const codes = (await stored(STORED_BITS[scheme])).map((code, i) => code + first[i]!);
    return { ...head, ...grids, codes };
  }

  async function read(part: Parameters<Checkpoint['read']>[0]): Promise<Map<string, HostTensor>> {
    const found = new Map<string, HostTensor>();
    for (const entry of checkpoint.listing(part).parameters) {
      const name = storedName(part, entry);
      const isCoded = Object.hasOwn(own.tables, name) || Object.hasOwn(config.layers, ownerOf(name));
      if (!isCoded && !Object.hasOwn(own.parameters, name))
        throw new UserError(`The elastic file has no ${show(name)}, which ${checkpoint.name} needs.`);
      const data = isCoded ? baseValues(await baseOf(ownerOf(name))) : await floats(name);
      if (data.length !== entry.shape.reduce((a, b) => a * b, 1))
        throw new UserError(`The elastic file has ${show(name)} in another size than ${checkpoint.name}.`);
      found.set(entry.name, { data, shape: entry.shape });
    }
    return found;
  }

  return {
    offered: [...config.offered].sort((a, b) => a - b),
    checkpoint: { ...checkpoint, read },
    cache: undefined,
    fixedBits: fixedBits(checkpoint.model, config.embedding_bits, config.head_bits),
    form: (layer, bits) => elasticForm(own, config, layer, bits),
    weight,
    activation: async (owner, bits) => {
      if (own.activations !== 'static') return own.activations;
      const isInput = Object.hasOwn(config.layers, owner) && config.layers[owner]!.input === owner;
      if (!isInput && !own.products?.includes(owner)) return undefined;
      const [scale] = await floats(gridName(owner, 'act_scale', bits));
      const [zero] = await floats(gridName(owner, 'act_zero', bits));
      return { scale: scale!, zero: zero! };
    },
  };
}

/** The file may be made by anybody. */
function requireLayers({ model, listing, name }: Checkpoint, { layers }: Pick<SetConfig, 'layers'>): void {
  for (const part of blocksOf(model))
    for (const layer of listing(part).linears) {
      const full = part.prefix + layer.name;
      const own = Object.hasOwn(layers, full) ? layers[full] : undefined;
      if (own?.in !== layer.in || own.out !== layer.out)
        throw new UserError(
          `The elastic file has no layer ${show(full)} of ${layer.out} × ${layer.in}, which ${name} needs.`,
        );
    }
}
