/** Low-rank corrections in int8: gain · B[:, :rank] A[:rank, :] of a layer. */
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';
import type { Directions } from './layout.js';

/** A [rank, in] and B [out, rank] as codes with a scale for each direction: for the rows of A, and the columns of B. */
export interface StoredDirections {
  readonly a: Int8Array;
  readonly aScale: Float32Array;
  readonly b: Int8Array;
  readonly bScale: Float32Array;
}

const MOST = 127;

/** @param a [rank, in] @param b [out, rank] */
export function storeDirections(a: Float32Array, b: Float32Array, rank: number): StoredDirections {
  const columns = a.length / rank;
  const rows = b.length / rank;
  const [one, other] = [stored(rank, columns, columns, 1), stored(rank, rows, 1, rank)];
  const [left, right] = [one(a), other(b)];
  return { a: left.codes, aScale: left.scale, b: right.codes, bScale: right.scale };
}

/** Of `count` directions of `length` elements: `next` to the next direction, `step` to its next element. */
const stored =
  (count: number, length: number, next: number, step: number) =>
  (data: Float32Array): { readonly codes: Int8Array; readonly scale: Float32Array } => {
    const codes = new Int8Array(data.length);
    const scale = new Float32Array(count);
    for (let d = 0; d < count; d++) {
      let most = 0;
      for (let i = 0; i < length; i++) most = Math.max(most, Math.abs(data[d * next + i * step]!));
      scale[d] = most / MOST;
      if (scale[d]! > 0)
        for (let i = 0; i < length; i++)
          codes[d * next + i * step] = Math.round(data[d * next + i * step]! / scale[d]!);
    }
    return { codes, scale };
  };

/** What is added to the base at a bit-width: its own share of the product, less the base's. Undefined where that is nothing. */
export async function addedAt(
  programs: Programs,
  own: Directions,
  base: Directions,
  read: () => Promise<StoredDirections>,
): Promise<Float32Array | undefined> {
  const isOf = ({ rank, gain }: Directions) => rank > 0 && gain > 0;
  if ((!isOf(own) && !isOf(base)) || (own.rank === base.rank && own.gain === base.gain)) return undefined;
  const directions = await read();
  const [more, less] = [
    isOf(own) ? await productOf(programs, directions, own.rank) : undefined,
    isOf(base) ? await productOf(programs, directions, base.rank) : undefined,
  ];
  const scaled = more ? more.map((x) => own.gain * x) : new Float32Array(less!.length);
  return less ? scaled.map((x, i) => x - base.gain * less[i]!) : scaled;
}

/** B[:, :rank] A[:rank, :], [out, in]. */
async function productOf(
  programs: Programs,
  { a, aScale, b, bScale }: StoredDirections,
  rank: number,
): Promise<Float32Array> {
  const all = aScale.length;
  const [columns, rows] = [a.length / all, b.length / all];
  const left = new Float32Array(rows * rank);
  for (let row = 0, i = 0; row < rows; row++)
    for (let d = 0; d < rank; d++) left[i++] = bScale[d]! * b[row * all + d]!;
  const right = Float32Array.from(
    { length: rank * columns },
    (_, i) => aScale[Math.floor(i / columns)]! * a[i]!,
  );
  const { runtime } = programs;
  const program = await programs.getBuilt(productGraph, [rows, rank, columns], 'directions', { keep: false });
  const outputs = await program.run({
    b: runtime.tensor(left, [rows, rank]),
    a: runtime.tensor(right, [rank, columns]),
  });
  return runtime.read(outputs.product!);
}

function productGraph(rows: number, rank: number, columns: number): Graph {
  const graph = new Graph();
  graph.output('product', op.matMul(graph.input('b', [rows, rank]), graph.input('a', [rank, columns])));
  return graph;
}
