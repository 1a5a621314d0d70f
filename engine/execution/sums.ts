/** Sums over a calibration set that graphs add up on the device, batch after batch. */
import { batchReader, tensorsOfBatch } from './batches.js';
import { disposeAll } from './part.js';
import type { PassHooks } from './part-by-part.js';
import {
  everySample,
  type Samples,
  type SampleSource,
  type SampleStore,
  type Sources,
} from './sample-store.js';
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

/** What a graph reads and yields of every sample beside a part's own. */
export interface Beside {
  /** What other graph inputs are fed, by their names; `shape` is that of one sample. */
  readonly reads?: ReadonlyMap<string, { readonly samples: SampleSource; readonly shape: Shape }>;
  /** Where outputs of samples go, by their names: each to its sample's place, which may be where it was read from. */
  readonly writes?: ReadonlyMap<string, SampleStore>;
}

/** The names of graph inputs for the ports of the stream with this number have this suffix. */
export const suffixOf = (stream: number): string => (stream === 0 ? '' : `.${stream}`);

/**
 * Runs a graph over all samples. For each sum it has an input `sum.<name>` and an output `<name>`; its other inputs are the
 * block's parameters, `counted` [batch, 1, 1], 1 for a sample that counts and 0 for one that only fills a batch and is all
 * zeros, the ports of the streams, with `suffixOf` their numbers, and what is beside.
 * @param placed parameters on the device @returns the sums, by name
 */
export async function addUp(
  programs: Programs,
  graph: Graph,
  sums: ReadonlyMap<string, Shape>,
  { part, streams, batch }: PartStreams,
  placed: Readonly<Record<string, Tensor>>,
  { signal, status }: PassHooks,
  { reads = new Map(), writes = new Map() }: Beside = {},
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
      for (const [name, { samples, shape }] of reads) {
        const data = new Float32Array(batch * samples.size);
        samples.read(picked, data.subarray(0, picked.length * samples.size));
        feeds[name] = runtime.tensor(data, [batch * shape[0]!, ...shape.slice(1)]);
      }
      for (const name of sums.keys()) feeds[`sum.${name}`] = held[name]!;
      const { ...outputs } = await program.run(feeds);
      disposeAll(held);
      held = outputs;
      for (const [name, store] of writes) {
        const data = await runtime.read(outputs[name]!);
        store.write(picked, data.subarray(0, picked.length * store.size));
        outputs[name]!.dispose();
        delete outputs[name];
      }
      status?.(Math.min(1, (start + batch) / indices.length));
    }
    const found = new Map<string, Float32Array>();
    for (const name of sums.keys()) found.set(name, (await runtime.read(held[name]!)).slice());
    return found;
  } finally {
    disposeAll(held);
  }
}
