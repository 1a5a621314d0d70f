/** How a weight as data lies in files, by its form (docs/FORMATS.md): nothing in it takes more bits than its size counts. */
import { UserError } from '../errors.js';
import type { ExpectedTensor } from '../formats/set.js';
import {
  bitsFor,
  formOf,
  groupsOf,
  type BinaryForm,
  type GridForm,
  type WeightForm,
} from '../quantized/form.js';
import { packCodes, packedBytes, unpackCodes, unpackRow } from '../quantized/packing.js';
import {
  statisticValues,
  type BinaryWeight,
  type GriddedStatistic,
  type GridWeight,
  type QuantizedWeight,
} from '../quantized/weight.js';
import type { KeptTensor } from './progress.js';

const STATISTICS = ['scale', 'zero'] as const;

/** The tensors of a weight of this form, by what they are. */
export function storedTensors(form: WeightForm): ReadonlyMap<string, ExpectedTensor> {
  const { in: columns, out } = form;
  const packed = (rows: number, count: number, bits: number): ExpectedTensor => ({
    shape: [rows, packedBytes(count, bits)],
    dtype: 'U8',
  });
  const halves = (rows: number, count: number): ExpectedTensor => ({ shape: [rows, count], dtype: 'F16' });
  const found = new Map<string, ExpectedTensor>();
  const groups = groupsOf(form);
  if (form.kind === 'binary') {
    const { classes, second } = form;
    found.set('signs', packed(out, columns, 1));
    if (classes > 1 && second < columns)
      found.set('classes', packed(out, columns - second, bitsFor(classes)));
    for (const what of ['mean', 'scale']) found.set(what, halves(out, groups * classes));
    if (second === 0) return found;
    found.set('second_columns', packed(1, columns, 1));
    found.set('second_signs', packed(out, second, 1));
    for (const what of ['mean', 'scale', 'other_scale']) found.set(`second_${what}`, halves(out, groups));
    return found;
  }
  const { bits, level, outliers, ordered } = form;
  found.set('codes', packed(out, columns, bits));
  if (level)
    for (const what of STATISTICS) {
      const bands = Math.ceil(out / level.rows);
      found.set(`${what}_codes`, packed(out, groups, what === 'scale' ? level.scaleBits : level.zeroBits));
      found.set(`${what}_step`, halves(bands, groups));
      found.set(`${what}_start`, halves(bands, groups));
    }
  else {
    found.set('scale', { shape: [out, groups], positive: true });
    found.set('zero', { shape: [out, groups] });
  }
  if (ordered) found.set('order', packed(1, columns, bitsFor(columns)));
  if (outliers !== undefined) {
    found.set('outlier_rows', packed(1, outliers, bitsFor(out)));
    found.set('outlier_columns', packed(1, outliers, bitsFor(columns)));
    found.set('outlier_values', halves(1, outliers));
  }
  return found;
}

/** A weight as it is kept. Statistics and outliers that lie in float16 are numbers that it holds. */
export function storeWeight(weight: QuantizedWeight): Map<string, KeptTensor> {
  const form = formOf(weight);
  const data = weight.kind === 'grid' ? gridData(weight, groupsOf(form)) : binaryData(weight);
  return new Map([...storedTensors(form)].map(([what, { shape }]) => [what, { shape, data: data[what]! }]));
}

type Data = Record<string, KeptTensor['data']>;

function gridData({ shape: [out, columns], bits, codes, ...weight }: GridWeight, groups: number): Data {
  const { scale, zero, level, order, outliers } = weight;
  const data: Data = { codes: packCodes(codes, columns, bits), scale, zero };
  for (const what of STATISTICS)
    if (level) {
      data[`${what}_codes`] = packCodes(level[what].codes, groups, level[what].bits);
      data[`${what}_step`] = level[what].step;
      data[`${what}_start`] = level[what].start;
    }
  if (order) data.order = packCodes(order, columns, bitsFor(columns));
  if (outliers) {
    data.outlier_rows = packRow(outliers.rows, bitsFor(out));
    data.outlier_columns = packRow(outliers.columns, bitsFor(columns));
    data.outlier_values = outliers.values;
  }
  return data;
}

const packRow = (numbers: Uint32Array, bits: number) =>
  numbers.length === 0 ? new Uint8Array(0) : packCodes(numbers, numbers.length, bits);

function binaryData({
  shape: [, columns],
  signs,
  classes,
  classOf,
  mean,
  scale,
  second,
}: BinaryWeight): Data {
  const data: Data = { signs: packCodes(signs, columns, 1), mean, scale };
  const planes = Uint8Array.from({ length: columns }, () => 0);
  for (const column of second?.columns ?? []) planes[column] = 1;
  const single = classOf.filter((_, i) => planes[i % columns] === 0);
  const left = columns - (second?.columns.length ?? 0);
  if (left > 0) data.classes = packCodes(single, left, bitsFor(classes));
  if (!second) return data;
  data.second_columns = packCodes(planes, columns, 1);
  data.second_signs = packCodes(second.signs, second.columns.length, 1);
  data.second_mean = second.mean;
  [data.second_scale, data.second_other_scale] = second.scales;
  return data;
}

/** Reads one of a weight's tensors. */
export type ReadTensor = (what: string) => Promise<KeptTensor['data']>;

/** The weight that was stored. Throws UserError, naming the layer, for places that it does not have. */
export const readWeight = (form: WeightForm, layer: string, read: ReadTensor): Promise<QuantizedWeight> =>
  form.kind === 'grid' ? readGrid(form, layer, read) : readBinary(form, layer, read);

async function readGrid(form: GridForm, layer: string, read: ReadTensor): Promise<GridWeight> {
  const { in: columns, out, bits, groupSize, level } = form;
  const groups = groupsOf(form);
  const bytes = async (what: string) => (await read(what)) as Uint8Array;
  const numbers = async (what: string) => (await read(what)) as Float32Array;
  const row = async (what: string, count: number, values: number) => {
    const found = unpackRow(await bytes(what), count, bitsFor(values));
    if (found.some((x) => x >= values))
      throw new UserError(
        `${layer}: ${what} must be below ${values}; copy the set again or calibrate again.`,
      );
    return found;
  };
  const statistic = async (what: string, own: number): Promise<GriddedStatistic> => ({
    bits: own,
    codes: unpackCodes(await bytes(`${what}_codes`), groups, own),
    step: await numbers(`${what}_step`),
    start: await numbers(`${what}_start`),
  });
  const own = level && {
    rows: level.rows,
    scale: await statistic('scale', level.scaleBits),
    zero: await statistic('zero', level.zeroBits),
  };
  const order = form.ordered ? await row('order', columns, columns) : undefined;
  if (order && new Set(order).size < columns)
    throw new UserError(
      `${layer}: order must name every column once; copy the set again or calibrate again.`,
    );
  const outliers = form.outliers !== undefined && {
    rows: await row('outlier_rows', form.outliers, out),
    columns: await row('outlier_columns', form.outliers, columns),
    values: await numbers('outlier_values'),
  };
  return {
    kind: 'grid',
    shape: [out, columns],
    bits,
    codes: unpackCodes(await bytes('codes'), columns, bits),
    groupSize,
    scale: own ? statisticValues(own.scale, groups, own.rows) : await numbers('scale'),
    zero: own ? statisticValues(own.zero, groups, own.rows) : await numbers('zero'),
    ...(own && { level: own }),
    ...(order && { order }),
    ...(outliers && { outliers }),
  };
}

async function readBinary(form: BinaryForm, layer: string, read: ReadTensor): Promise<BinaryWeight> {
  const { in: columns, out, groupSize, classes, second: count } = form;
  const bytes = async (what: string) => (await read(what)) as Uint8Array;
  const numbers = async (what: string) => (await read(what)) as Float32Array;
  const planes =
    count === 0 ? new Uint8Array(columns) : unpackCodes(await bytes('second_columns'), columns, 1);
  const doubled = Uint32Array.from([...planes.keys()].filter((i) => planes[i] === 1));
  if (doubled.length !== count)
    throw new UserError(
      `${layer}: second_columns must name ${count} columns, found ${doubled.length}; copy the set again or calibrate again.`,
    );
  const classOf = new Uint8Array(out * columns);
  if (classes > 1 && count < columns) {
    const single = unpackCodes(await bytes('classes'), columns - count, bitsFor(classes));
    if (single.some((x) => x >= classes))
      throw new UserError(
        `${layer}: classes must be below ${classes}; copy the set again or calibrate again.`,
      );
    let next = 0;
    for (let i = 0; i < classOf.length; i++) if (planes[i % columns] === 0) classOf[i] = single[next++]!;
  }
  return {
    kind: 'binary',
    shape: [out, columns],
    signs: unpackCodes(await bytes('signs'), columns, 1),
    classes,
    classOf,
    groupSize,
    mean: await numbers('mean'),
    scale: await numbers('scale'),
    ...(count > 0 && {
      second: {
        columns: doubled,
        signs: unpackCodes(await bytes('second_signs'), count, 1),
        mean: await numbers('second_mean'),
        scales: [await numbers('second_scale'), await numbers('second_other_scale')] as const,
      },
    }),
  };
}
