/** What a part reads, in batches: its own input, and what feeds its side ports. */
import { sideInput } from '../models/builders.js';
import type { Part } from '../models/model.js';
import type { Runtime, Tensor } from '../runtime/session.js';
import type { Samples, Sources } from './sample-store.js';

/** By the names of the graph's inputs: `x`, and `side.<name>` for each side port. Samples lie one after another. */
export type PartBatch = Readonly<Record<string, Float32Array | BigInt64Array>>;

export interface BatchReader {
  /** Reads the samples at `indices`, at most one batch, to the beginning of the arrays; what lies behind them stays. */
  read(this: void, indices: readonly number[]): PartBatch;
  /** Sets every array to zeros. */
  clear(this: void): void;
}

/** Reads what the part does, always into the same arrays. Throws where nothing feeds one of its side ports. */
export function batchReader(part: Part, x: Samples, side: Sources, batch: number): BatchReader {
  const ports = portsOf(part).map(({ port, input, type }) => {
    const source = port === undefined ? x : side.get(port);
    if (!source) throw new Error(`${part.prefix} (${part.kind}): nothing feeds "${port!}".`);
    const elements = batch * source.size;
    return {
      input,
      source,
      array: type === 'int64' ? new BigInt64Array(elements) : new Float32Array(elements),
    };
  });
  const batchOf = Object.fromEntries(ports.map(({ input, array }) => [input, array]));
  return {
    read: (indices) => {
      for (const { source, array } of ports)
        source.read(indices, array.subarray(0, indices.length * source.size) as never);
      return batchOf;
    },
    clear: () =>
      ports.forEach(({ array }) => (array instanceof BigInt64Array ? array.fill(0n) : array.fill(0))),
  };
}

/** The first `samples` samples in whole batches, at least one: each comes in the same arrays. */
export function* batchesOf(
  part: Part,
  x: Samples,
  side: Sources,
  samples: number,
  batch: number,
): Generator<PartBatch> {
  const reader = batchReader(part, x, side, batch);
  for (let start = 0; start + batch <= Math.max(samples, batch); start += batch)
    yield reader.read(Array.from({ length: batch }, (_, i) => start + i));
}

/** A batch as the part's graph takes it. @param suffix of the names of graph inputs */
export const tensorsOfBatch = (
  runtime: Runtime,
  part: Part,
  data: PartBatch,
  batch: number,
  suffix = '',
): Record<string, Tensor> =>
  Object.fromEntries(
    portsOf(part).map(({ input, shape }) => [input + suffix, runtime.tensor(data[input]!, shape(batch))]),
  );

/** What a part reads: its input, and its side ports. */
const portsOf = (part: Part) => [
  { port: undefined, input: 'x', type: part.inputType, shape: (batch: number) => part.inputShape(batch) },
  ...(part.side ?? []).map(({ name, type, shape }) => ({ port: name, input: sideInput(name), type, shape })),
];
