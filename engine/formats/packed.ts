/**
 * Checkpoints whose weights are packed integers (compressed-tensors, GPTQ, AWQ), read by what their files and their
 * `quantization_config` say: each packed layer as a weight [out, in] of floats.
 */
import { UserError } from '../errors.js';
import { expectInteger, expectObject, expectObjectAt, expectString, type JsonObject } from './json.js';
import { turned, unpackAwq, unpackRows } from './packed-words.js';
import { show } from './paths.js';
import type { TensorInfo, TensorSource } from './safetensors.js';

/** A packed weight: its size is known from the headers, its values are read when they are asked for. */
interface PackedWeight {
  readonly shape: readonly [out: number, columns: number];
  read(): Promise<Float32Array>;
}

/** What tells a packed layer, and what makes its weight. */
interface Layout {
  /** End the names of a packed layer's tensors; that of the first it has in any case. */
  readonly suffixes: readonly [string, ...string[]];
  /** @param config `quantization_config` */
  open(tensors: Layer, config: JsonObject): Promise<PackedWeight>;
}

/** The tensors of one layer. */
interface Layer {
  readonly name: string;
  readonly where: string;
  has(suffix: string): boolean;
  /** Of two dimensions. Throws UserError for another, and for one that is missing. */
  shape(this: void, suffix: string): readonly [number, number];
  words(suffix: string): Promise<Int32Array>;
  floats(suffix: string): Promise<Float32Array>;
  integers(suffix: string): Promise<readonly number[]>;
}

/** By `quant_method`. */
const LAYOUTS: Readonly<Record<string, Layout>> = {
  'compressed-tensors': {
    suffixes: ['weight_packed', 'weight_scale', 'weight_zero_point', 'weight_shape'],
    open: openCompressed,
  },
  gptq: { suffixes: ['qweight', 'qzeros', 'scales', 'g_idx'], open: openGptq },
  awq: { suffixes: ['qweight', 'qzeros', 'scales'], open: openAwq },
};

/** Whether a `config.json` says that weights are packed in a way that is read here. */
export function isPacked({ quantization_config: config }: JsonObject): boolean {
  const method = (config as JsonObject | undefined | null)?.quant_method;
  return typeof method === 'string' && Object.hasOwn(LAYOUTS, method);
}

/**
 * The tensors of a packed checkpoint with a weight of F32 in the place of the tensors of each packed layer. Throws UserError for a
 * layer whose tensors do not fit each other or the configuration.
 * @param where names the checkpoint
 */
export async function unpacked(
  source: TensorSource,
  values: JsonObject,
  where: string,
): Promise<TensorSource> {
  const config = expectObjectAt(values, 'quantization_config', where);
  const layout = LAYOUTS[expectString(config, 'quant_method', where)]!;
  const weights = new Map<string, PackedWeight>();
  const tensors = new Map<string, TensorInfo>(source.tensors);
  for (const { name } of source.tensors.values()) {
    const [first] = layout.suffixes;
    if (!name.endsWith(`.${first}`)) continue;
    const layer = name.slice(0, -first.length - 1);
    const weight = await layout.open(layerOf(source, layer, where), config);
    weights.set(`${layer}.weight`, weight);
    for (const suffix of layout.suffixes) tensors.delete(`${layer}.${suffix}`);
    tensors.set(`${layer}.weight`, {
      ...source.tensors.get(name)!,
      name: `${layer}.weight`,
      dtype: 'F32',
      shape: weight.shape,
    });
  }
  const read = (name: string) => weights.get(name)?.read() ?? source.read(name);
  return {
    ...source,
    tensors,
    read,
    readRows: async (name, start, end) => {
      const weight = weights.get(name);
      if (!weight) return source.readRows(name, start, end);
      const columns = weight.shape[1];
      return (await weight.read()).subarray(start * columns, end * columns);
    },
  };
}

function layerOf(source: TensorSource, name: string, checkpoint: string): Layer {
  const where = `${checkpoint}: the layer ${show(name)}`;
  const full = (suffix: string) => `${name}.${suffix}`;
  const infoOf = (suffix: string) => {
    const info = source.tensors.get(full(suffix));
    if (!info) throw new UserError(`${where} has no ${suffix}.`);
    return info;
  };
  return {
    name,
    where,
    has: (suffix) => source.tensors.has(full(suffix)),
    shape: (suffix) => {
      const { shape } = infoOf(suffix);
      if (shape.length !== 2 || shape.includes(0))
        throw new UserError(`${where}: its ${suffix} has the shape [${shape.join(', ')}], not of a matrix.`);
      return shape as [number, number];
    },
    words: async (suffix) => {
      const { dtype } = infoOf(suffix);
      if (dtype !== 'I32') throw new UserError(`${where}: its ${suffix} holds ${show(dtype, 24)}, not I32.`);
      const bytes = await source.readBytes(full(suffix));
      return new Int32Array(Uint8Array.from(bytes).buffer);
    },
    floats: (suffix) => source.read(full(suffix)),
    integers: async (suffix) => [...(await source.readInt(full(suffix)))].map(Number),
  };
}

function requireShape({ where, shape }: Layer, suffix: string, expected: readonly [number, number]): void {
  const found = shape(suffix);
  if (found[0] !== expected[0] || found[1] !== expected[1])
    throw new UserError(
      `${where}: its ${suffix} has the shape [${found.join(', ')}]; by the others it is [${expected.join(', ')}].`,
    );
}

const wordsFor = (count: number, bits: number) => Math.ceil((count * bits) / 32);

/** (code − zero) · scale. @param scale,zero [out, groups] @param groupOf of each column */
function values(
  codes: Uint8Array,
  shape: PackedWeight['shape'],
  groups: number,
  groupOf: (column: number) => number,
  scale: Float32Array,
  zero: (row: number, group: number) => number,
): Float32Array {
  const [out, columns] = shape;
  const weight = new Float32Array(out * columns);
  for (let row = 0; row < out; row++)
    for (let column = 0; column < columns; column++) {
      const group = groupOf(column);
      const at = row * columns + column;
      weight[at] = (codes[at]! - zero(row, group)) * scale[row * groups + group]!;
    }
  return weight;
}

/** What `config_groups` says of a layer: the group that names it, else the one of all linear layers. */
function schemeOf(config: JsonObject, { name, where }: Layer) {
  const groups = expectObjectAt(config, 'config_groups', where);
  const schemes = Object.values(groups).map((group) => expectObject(group, where));
  const targets = (scheme: JsonObject) => (Array.isArray(scheme.targets) ? scheme.targets : []);
  const found =
    schemes.find((scheme) => targets(scheme).includes(name)) ??
    schemes.find((scheme) => targets(scheme).includes('Linear'));
  if (!found) throw new UserError(`${where} is packed, and no group of quantization_config names it.`);
  const weights = expectObjectAt(found, 'weights', where);
  return {
    bits: expectInteger(weights, 'num_bits', where, { min: 1, max: 8 }),
    isSymmetric: weights.symmetric === true,
  };
}

async function openCompressed(layer: Layer, config: JsonObject): Promise<PackedWeight> {
  const { where } = layer;
  const { bits, isSymmetric } = schemeOf(config, layer);
  const [out, columns] = await layer.integers('weight_shape');
  const [rows, width] = layer.shape('weight_packed');
  if (out !== rows || !(columns! >= 1) || wordsFor(columns!, bits) !== width)
    throw new UserError(
      `${where}: its weight_packed [${rows}, ${width}] does not hold ${out}×${columns} values of ${bits} bits.`,
    );
  const shape = [rows, columns!] as const;
  const groups = groupsIn(layer, 'weight_scale', shape[1], rows);
  if (isSymmetric === layer.has('weight_zero_point'))
    throw new UserError(`${where}: its zero points and quantization_config do not agree.`);
  if (!isSymmetric) requireShape(layer, 'weight_zero_point', [wordsFor(rows, bits), groups]);
  return {
    shape,
    read: async () => {
      const codes = unpackRows(await layer.words('weight_packed'), rows, shape[1], bits);
      const middle = 2 ** (bits - 1);
      const zeros = isSymmetric
        ? undefined
        : unpackRows(
            turned(await layer.words('weight_zero_point'), wordsFor(rows, bits)),
            groups,
            rows,
            bits,
          );
      return values(
        codes,
        shape,
        groups,
        (column) => Math.floor((column * groups) / shape[1]),
        await layer.floats('weight_scale'),
        (row, group) => (zeros ? zeros[group * rows + row]! : middle),
      );
    },
  };
}

/** Groups of columns that share a scale. @param rows of the scales, whose columns they are */
function groupsIn(layer: Layer, suffix: string, columns: number, rows: number): number {
  const [found, groups] = layer.shape(suffix);
  if (found !== rows || columns % groups !== 0)
    throw new UserError(
      `${layer.where}: its ${suffix} [${found}, ${groups}] has no whole groups of ${columns}.`,
    );
  return groups;
}

/** What `quantization_config` says of a layer's bits: its own entry of `dynamic`, else that of all. */
function gptqBits(config: JsonObject, { name, where }: Layer): number {
  const own = (config.dynamic as JsonObject | undefined)?.[`+:^${name.replaceAll('.', '\\.')}$`];
  const said = own === undefined ? config : expectObject(own, where);
  return expectInteger(said, 'bits', where, { min: 1, max: 8 });
}

async function openGptq(layer: Layer, config: JsonObject): Promise<PackedWeight> {
  const { where } = layer;
  const bits = gptqBits(config, layer);
  const [words, out] = layer.shape('qweight');
  const columns = Math.floor((words * 32) / bits);
  const [groups] = layer.shape('scales');
  requireShape(layer, 'scales', [groups, out]);
  requireShape(layer, 'qzeros', [groups, wordsFor(out, bits)]);
  const groupOf = await layer.integers('g_idx');
  if (groupOf.length !== columns || groupOf.some((group) => group < 0 || group >= groups))
    throw new UserError(`${where}: its g_idx does not name a group of each of ${columns} columns.`);
  // Zero points of the first version are stored less one.
  const added = (config.checkpoint_format ?? config.format) === 'gptq_v2' ? 0 : 1;
  return {
    shape: [out, columns],
    read: async () => {
      const codes = unpackRows(turned(await layer.words('qweight'), words), out, columns, bits);
      const zeros = unpackRows(await layer.words('qzeros'), groups, out, bits);
      const scale = turned(await layer.floats('scales'), groups);
      const zero = (row: number, group: number) => zeros[group * out + row]! + added;
      return values(codes, [out, columns], groups, (column) => groupOf[column]!, scale, zero);
    },
  };
}

function openAwq(layer: Layer): Promise<PackedWeight> {
  const [columns, width] = layer.shape('qweight');
  const out = width * 8;
  const [groups] = layer.shape('scales');
  requireShape(layer, 'scales', [groups, out]);
  requireShape(layer, 'qzeros', [groups, width]);
  if (columns % groups !== 0)
    throw new UserError(`${layer.where}: its scales [${groups}, ${out}] have no whole groups of ${columns}.`);
  const read = async () => {
    const codes = turned(unpackAwq(await layer.words('qweight'), columns, out), columns);
    const zeros = unpackAwq(await layer.words('qzeros'), groups, out);
    const scale = turned(await layer.floats('scales'), groups);
    const groupOf = (column: number) => Math.floor((column * groups) / columns);
    return values(codes, [out, columns], groups, groupOf, scale, (row, group) => zeros[group * out + row]!);
  };
  return Promise.resolve({ shape: [out, columns], read });
}
