/**
 * Weights by columns, [in, out], where a model mostly runs one token at a time: on a CPU such a product takes the time in which its
 * weight is read, and ONNX Runtime reads long rows up to 1.6 times as fast as short ones (docs/FIGURES.md).
 */
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { PartListing } from '../models/listing.js';
import type { Builder } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';

/** How a model is opened. */
export interface OpenOptions {
  /** Whether tokens mostly run one at a time. Default false. */
  readonly oneByOne?: boolean;
}

export const NONE: ReadonlySet<string> = new Set();

/** The layers whose weights lie by columns, by local name: those with longer columns than rows. */
export const wideLayers = (
  { runtime }: Pick<Programs, 'runtime'>,
  { linears }: Pick<PartListing, 'linears'>,
  { oneByOne = false }: OpenOptions,
): ReadonlySet<string> =>
  oneByOne && runtime.device === 'cpu'
    ? new Set(linears.filter((layer) => layer.out > layer.in).map(({ name }) => name))
    : NONE;

/** A builder whose layers of these names have weights [in, out]. */
export const byColumns = (builder: Builder, wide: ReadonlySet<string>): Builder => ({
  ...builder,
  linear: (name, x, out, options = {}) => {
    if (!wide.has(name)) return builder.linear(name, x, out, options);
    const weight = builder.parameter(`${name}.weight`, [x.shape[1]!, out]);
    const { bias = true } = options;
    return op.gemm(x, weight, bias ? { c: builder.parameter(`${name}.bias`, [out]) } : {});
  },
});

/** A weight [out, in] as [in, out], another tensor. */
export async function turned(programs: Programs, weight: Tensor): Promise<Tensor> {
  const [out, columns] = weight.shape as readonly [number, number];
  const program = await programs.getBuilt(turnedGraph, [out, columns], `turning ${out}×${columns}`);
  return (await program.run({ x: weight })).y!;
}

function turnedGraph(out: number, columns: number): Graph {
  const graph = new Graph();
  graph.output('y', op.transpose(graph.input('x', [out, columns]), [1, 0]));
  return graph;
}
