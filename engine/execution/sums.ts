/** Sums over a calibration set that graphs add up on the device, batch after batch. */
import { batchReader, tensorsOfBatch } from './batches.js';
import { disposeAll } from './part.js';
import { everySample, type Samples, type Sources } from './sample-store.js';
import { CancelledError } from '../errors.js';
import { sizeOf, type Graph, type Shape } from '../graph/ir.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import type { Part } from '../models/model.js';

/** A part, and what it reads in one stream of activations or several. */
export interface PartStreams {
  readonly part: Part;
  readonly streams: readonly { readonly x: Samples; readonly side: Sources }[];
  /** Samples that run at once. */
  readonly batch: number;
}

/** The names of graph inputs for the ports of the stream with this number have this suffix. */
export const suffixOf = (stream: number): string => (stream === 0 ? '' : `.${stream}`);

/**
 * Runs a graph over all samples. For each sum it has an input `sum.<name>` and an output `<name>`; its other inputs are the
 * block's parameters, `counted` [batch, 1, 1], 1 for a sample that counts and 0 for one that only fills a batch, and the
 * ports of the streams, with `suffixOf` their numbers.
 * @param placed parameters on the device @returns the sums, by name
 */
export async function addUp(
  programs: Programs,
  graph: Graph,
  sums: ReadonlyMap<string, Shape>,
  { part, streams, batch }: PartStreams,
  placed: Readonly<Record<string, Tensor>>,
  { signal, status }: { readonly signal: AbortSignal; readonly status: (done: number) => void },
): Promise<Map<string, Float32Array>> {
  const { runtime } = programs;
  const program = await programs.get(graph, `sums ${part.kind} ×${batch}`);
  const readers = streams.map(({ x, side }) => batchReader(part, x, side, batch));
  const indices = everySample(streams[0]!.x);
  let held: Record<string, Tensor> = {};
  try {
    for (const [name, shape] of sums)
      held[name] = await runtime.place(runtime.tensor(new Float32Array(sizeOf(shape)), shape));
    for (let start = 0; start < indices.length; start += batch) {
      if (signal.aborted) throw new CancelledError();
      const picked = indices.slice(start, start + batch);
      const feeds: Record<string, Tensor> = {
        ...placed,
        counted: runtime.tensor(new Float32Array(batch).fill(1, 0, picked.length), [batch, 1, 1]),
      };
      for (const [i, reader] of readers.entries()) {
        reader.clear();
        Object.assign(feeds, tensorsOfBatch(runtime, part, reader.read(picked), batch, suffixOf(i)));
      }
      for (const name of sums.keys()) feeds[`sum.${name}`] = held[name]!;
      const outputs = await program.run(feeds);
      disposeAll(held);
      held = outputs;
      status(Math.min(1, (start + batch) / indices.length));
    }
    const found = new Map<string, Float32Array>();
    for (const name of sums.keys()) found.set(name, (await runtime.read(held[name]!)).slice());
    return found;
  } finally {
    disposeAll(held);
  }
}
