/** Formats of checkpoints whose quantized weights are packed integers, each described by what it makes of one. */
import type { SafetensorsDType } from '../../formats/safetensors.js';
import type { SafetensorsData } from '../../formats/safetensors-write.js';
import type { GridForm, WeightForm } from '../../quantized/form.js';
import type { GridWeight } from '../../quantized/weight.js';
import { isPlain, zerosOf } from '../grids.js';
import { packAwq, packRows, transposed } from './words.js';

/** Integers of a kind of container. */
interface Kind {
  readonly bits: number;
  /** Whether they have no zero point but the middle of their range. */
  readonly isSymmetric: boolean;
}

/** How integers of a weight are stored. */
export interface Container extends Kind {
  /** Columns that share a scale, which they are a multiple of; -1 for whole rows. */
  readonly groupSize: number;
  /** Of the weight. */
  readonly columns: number;
  /** Steps of the container in one of the grid: 2 where zero points are halves. */
  readonly parts: 1 | 2;
}

/** One of the tensors that stand in a weight's place. */
export interface PackedTensor {
  /** What follows the layer's name. */
  readonly suffix: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** @param scale one per group of columns of a row, as `dtype` of the format's scales holds them */
  data(this: void, integers: Integers): SafetensorsData;
}

/** A weight in the integers of a container: [out, in], and [out, groups]. */
export interface Integers {
  readonly codes: Uint8Array;
  readonly scale: Float32Array;
  readonly zero: Uint8Array;
}

export interface PackedFormat {
  /** By size. */
  readonly kinds: readonly Kind[];
  /** What the lengths of a weight are multiples of. */
  readonly multiples: { readonly in: number; readonly out: number };
  /** The fewest columns of a group, a power of two, where groups of all layers have one size; absent where each has its own. */
  readonly leastGroup?: number;
  /** Whether its readers load pictures' classifiers. */
  readonly holdsPictures?: boolean;
  /** Of scales. @param own the weight's in the checkpoint */
  scaleType(this: void, own: SafetensorsDType): SafetensorsDType;
  tensors(
    this: void,
    container: Container,
    shape: Pick<WeightForm, 'in' | 'out'>,
    scaleType: SafetensorsDType,
  ): readonly PackedTensor[];
  /**
   * `quantization_config`.
   * @param layers full names of quantized layers and what holds them @param others full names of layers in floating point
   */
  config(this: void, layers: ReadonlyMap<string, Container>, others: readonly string[]): object;
}

const words = (count: number, bits: number) => Math.ceil((count * bits) / 32);
const groupsOf = ({ groupSize }: Container, columns: number) => (groupSize === -1 ? 1 : columns / groupSize);

const asymmetric = (bits: number): Kind => ({ bits, isSymmetric: false });
const symmetric = (bits: number): Kind => ({ bits, isSymmetric: true });

/**
 * compressed-tensors (vLLM's project): rows along their columns, zero points along rows. It has all bits from 1 to 8, and its readers
 * 4 and 8; zero points cost readers, too: transformers 5.24 does not load them.
 */
export const compressedTensors: PackedFormat = {
  kinds: [symmetric(4), asymmetric(4), symmetric(8), asymmetric(8)],
  multiples: { in: 1, out: 1 },
  holdsPictures: true,
  scaleType: (own) => (own === 'F64' ? 'F32' : own),
  tensors: (container, { in: columns, out }, scaleType) => {
    const { bits, isSymmetric } = container;
    const groups = groupsOf(container, columns);
    const zeros: PackedTensor = {
      suffix: 'weight_zero_point',
      dtype: 'I32',
      shape: [words(out, bits), groups],
      data: ({ zero }) => transposed(packRows(transposed(zero, out), groups, bits), groups),
    };
    return [
      {
        suffix: 'weight_packed',
        dtype: 'I32',
        shape: [out, words(columns, bits)],
        data: ({ codes }) => packRows(codes, out, bits),
      },
      { suffix: 'weight_scale', dtype: scaleType, shape: [out, groups], data: ({ scale }) => scale },
      ...(isSymmetric ? [] : [zeros]),
      {
        suffix: 'weight_shape',
        dtype: 'I64',
        shape: [2],
        data: () => BigInt64Array.of(BigInt(out), BigInt(columns)),
      },
    ];
  },
  config: (layers, others) => {
    const kinds = new Map<string, { readonly container: Container; readonly targets: string[] }>();
    for (const [name, container] of layers) {
      const key = `${container.bits} ${container.isSymmetric} ${container.groupSize}`;
      const known = kinds.get(key) ?? { container, targets: [] };
      known.targets.push(name);
      kinds.set(key, known);
    }
    const groups = [...kinds.values()].map(
      ({ container: { bits, isSymmetric, groupSize }, targets }, i): [string, object] => [
        `group_${i}`,
        {
          targets: kinds.size === 1 ? ['Linear'] : targets,
          weights: {
            num_bits: bits,
            type: 'int',
            symmetric: isSymmetric,
            strategy: groupSize === -1 ? 'channel' : 'group',
            group_size: groupSize === -1 ? null : groupSize,
            dynamic: false,
          },
          input_activations: null,
          output_activations: null,
        },
      ],
    );
    return {
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      quantization_status: 'compressed',
      global_compression_ratio: null,
      ignore: others,
      kv_cache_scheme: null,
      config_groups: Object.fromEntries(groups),
    };
  },
};

/** What GPTQ's format and AWQ's have alike: scales and zero points [groups, out], scales in float16. */
const turnedScales = (groups: number, out: number, zeros: PackedTensor): readonly PackedTensor[] => [
  zeros,
  { suffix: 'scales', dtype: 'F16', shape: [groups, out], data: ({ scale }) => transposed(scale, out) },
];

/** GPTQModel's `gptq_v2`, whose zero points are stored as they are. */
export const gptqV2: PackedFormat = {
  kinds: [2, 3, 4, 8].map(asymmetric),
  multiples: { in: 32, out: 32 },
  leastGroup: 16,
  scaleType: () => 'F16',
  tensors: (container, { in: columns, out }) => {
    const { bits } = container;
    const groups = groupsOf(container, columns);
    return [
      {
        suffix: 'qweight',
        dtype: 'I32',
        shape: [words(columns, bits), out],
        data: ({ codes }) => transposed(packRows(codes, out, bits), out),
      },
      ...turnedScales(groups, out, {
        suffix: 'qzeros',
        dtype: 'I32',
        shape: [groups, words(out, bits)],
        data: ({ zero }) => packRows(transposed(zero, out), groups, bits),
      }),
      {
        suffix: 'g_idx',
        dtype: 'I32',
        shape: [columns],
        data: () => Int32Array.from({ length: columns }, (_, i) => Math.floor(i / (columns / groups))),
      },
    ];
  },
  config: (layers) => {
    const [[, first]] = [...layers] as [[string, Container]];
    const others = [...layers].filter(([, { bits }]) => bits !== first.bits);
    return {
      quant_method: 'gptq',
      bits: first.bits,
      group_size: first.groupSize,
      desc_act: false,
      sym: false,
      lm_head: false,
      format: 'gptq_v2',
      checkpoint_format: 'gptq_v2',
      pack_dtype: 'int32',
      ...(others.length > 0 && {
        dynamic: Object.fromEntries(
          others.map(([name, { bits, groupSize }]) => [
            `+:^${name.replaceAll('.', '\\.')}$`,
            { bits, group_size: groupSize },
          ]),
        ),
      }),
    };
  },
};

/** AutoAWQ's `gemm`: 4 bits. */
export const awq: PackedFormat = {
  kinds: [asymmetric(4)],
  multiples: { in: 32, out: 8 },
  leastGroup: 16,
  scaleType: () => 'F16',
  tensors: (container, { in: columns, out }) => {
    const groups = groupsOf(container, columns);
    return [
      {
        suffix: 'qweight',
        dtype: 'I32',
        shape: [columns, out / 8],
        data: ({ codes }) => packAwq(transposed(codes, out), columns),
      },
      ...turnedScales(groups, out, {
        suffix: 'qzeros',
        dtype: 'I32',
        shape: [groups, out / 8],
        data: ({ zero }) => packAwq(transposed(zero, out), groups),
      }),
    ];
  },
  config: (layers) => {
    const [[, { groupSize }]] = [...layers] as [[string, Container]];
    return {
      quant_method: 'awq',
      bits: 4,
      group_size: groupSize,
      zero_point: true,
      version: 'gemm',
      modules_to_not_convert: null,
    };
  },
};

/** What holds weights of a form, or why nothing does, to go on after the layer's name. */
export function containerFor(format: PackedFormat, form: WeightForm): Container | string {
  const { in: columns, out } = form;
  if (!isPlain(form)) return 'has outliers, sorted columns or signs';
  const zeros = zerosOf(form);
  if (zeros === 'any') return 'has zero points of any value';
  const parts = zeros === 'half' ? 2 : 1;
  const most = parts * (2 ** form.bits - 1);
  const kind = format.kinds.find(({ bits, isSymmetric }) => most < 2 ** (isSymmetric ? bits - 1 : bits));
  if (!kind) return `has steps from 0 to ${most}`;
  const { multiples } = format;
  if (columns % multiples.in !== 0 || out % multiples.out !== 0)
    return `is ${out}×${columns}, not a multiple of ${multiples.out}×${multiples.in}`;
  const groupSize = form.groupSize === -1 || form.groupSize >= columns ? -1 : dividing(form, columns);
  return { ...kind, groupSize, columns, parts };
}

/** Groups must be whole: the largest size that both the form's groups and the columns are made of. */
function dividing({ groupSize }: GridForm, columns: number): number {
  let [a, b] = [groupSize, columns];
  while (b > 0) [a, b] = [b, a % b];
  return a;
}

/** The integers of a weight in a container. @param held with zero points among its codes */
export function integersOf(held: GridWeight, { bits, isSymmetric, groupSize, parts }: Container): Integers {
  const [out, columns] = held.shape;
  const size = groupSize === -1 ? columns : groupSize;
  const groups = columns / size;
  const own = held.groupSize === -1 ? columns : held.groupSize;
  const ownGroups = Math.ceil(columns / own);
  const from = Array.from({ length: out * groups }, (_, i) => {
    const row = Math.floor(i / groups);
    return row * ownGroups + Math.floor(((i % groups) * size) / own);
  });
  const middle = 2 ** (bits - 1);
  const zeroAt = (i: number) =>
    held.zero[Math.floor(i / columns) * ownGroups + Math.floor((i % columns) / own)]!;
  return {
    codes: held.codes.map((c, i) => (isSymmetric ? parts * (c - zeroAt(i)) + middle : parts * c)),
    scale: Float32Array.from(from, (group) => held.scale[group]! / parts),
    zero: Uint8Array.from(from, (group) => held.zero[group]! * parts),
  };
}
