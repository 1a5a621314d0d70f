/** What a language model begins and ends with: the table of embeddings and the head's layer, which may read the same table. */
import type { LanguageModel } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';
import type { Layers } from './layers.js';
import { MICROSOFT, type Stored } from './network.js';
import { isRotated } from './rotated.js';
import type { Constants, PackedConstants } from './weights.js';

export interface Ends {
  /** [batch, length, features] of the tokens. */
  embedded(): string;
  /** @param x [batch, length, features] */
  logits(x: string): string;
}

/** Bits that the table of embeddings and the head's weight are rounded to where the set has them in floating point. */
export type TableBits = 4 | 8;

const TABLE = 'model.embed_tokens.weight';
const HEAD = 'lm_head';

/** Whether the head reads the table itself: a turned one is another. */
const sharesTable = (context: ExportContext, { layout }: LanguageModel): boolean =>
  layout!.tied && !isRotated(context);

/** In floating point, but for what the set says. */
export function floatEnds(
  context: ExportContext,
  { net, layer, linear }: Layers,
  constants: Constants,
): Ends {
  const model = context.source.checkpoint.model as LanguageModel;
  const { stem, head, vocabulary } = model;
  const table = net.store(constants.parameter(stem, TABLE, [vocabulary, model.layout!.features]));
  const isOwn = constants.packed(head, layer(head, HEAD)) !== undefined || !sharesTable(context, model);
  return {
    embedded: () => net.node('Gather', [table, 'input_ids'], { axis: 0 }),
    logits: (x) =>
      isOwn
        ? linear(head, HEAD, x)
        : net.node('MatMul', [x, net.node('Transpose', [table], { perm: [1, 0] })]),
  };
}

/** Rounded to nearest at so many bits in groups; a shared table is stored once. */
export function tableEnds(
  context: ExportContext,
  { net, layer, linear, nbitsProduct }: Layers,
  constants: Constants,
  bits: TableBits,
): Ends {
  const model = context.source.checkpoint.model as LanguageModel;
  const { stem, head, vocabulary } = model;
  const { features } = model.layout!;
  const groupSize = tableGroups(features, bits)!;
  const rounded = (part: typeof stem, local: string) =>
    constants.rounded(part, local, [vocabulary, features], bits, groupSize);
  const table = rounded(stem, TABLE);
  return {
    embedded: () => {
      const { integers, scales, zeros } = gathered(table, vocabulary);
      const inputs = [net.store(integers), 'input_ids', net.store(scales), net.store(zeros)];
      const attributes = { gather_axis: 0, quantize_axis: 1, block_size: groupSize, bits };
      return net.node('GatherBlockQuantized', inputs, attributes, MICROSOFT);
    },
    logits: (x) => {
      const entry = layer(head, HEAD);
      if (constants.packed(head, entry)) return linear(head, HEAD, x);
      const weight = sharesTable(context, model)
        ? alike(table, gathered(table, vocabulary))
        : rounded(head, `${HEAD}.weight`);
      return nbitsProduct(x, weight, entry, true);
    },
  };
}

type Table = Extract<PackedConstants, { kind: 'nbits' }>;

/** The same tensors as rows, which is how they are looked up. */
function gathered(table: Table, rows: number): Table {
  const asRows = (tensor: Stored): Stored => ({
    ...tensor,
    name: `${tensor.name}.rows`,
    shape: [rows, tensor.shape.reduce((a, b) => a * b, 1) / rows],
  });
  const { integers, scales, zeros } = table;
  return { ...table, integers: asRows(integers), scales: asRows(scales), zeros: asRows(zeros) };
}

/** The tensors of a table, with the bytes of others. */
function alike(table: Table, { integers, scales, zeros }: Table): Table {
  const sharing = (tensor: Stored, { name }: Stored): Stored => ({ ...tensor, same: name });
  return {
    ...table,
    integers: sharing(table.integers, integers),
    scales: sharing(table.scales, scales),
    zeros: sharing(table.zeros, zeros),
  };
}

/** The least columns that share a scale, which ONNX Runtime asks for. */
const LEAST_GROUP = 16;
/** The most: fewer are closer to the table, and take more bytes of scales. */
const MOST_GROUP = { 4: 32, 8: 128 } as const;

/** The columns of a table that share a scale; undefined where its rows cannot be divided so. */
export function tableGroups(features: number, bits: TableBits): number | undefined {
  const group = Math.min(MOST_GROUP[bits], features & -features);
  return group >= LEAST_GROUP ? group : undefined;
}
