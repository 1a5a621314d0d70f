/** Samples of a store in batches. */
import { type SampleSource } from './sample-store.js';

/** The first `samples` samples in whole batches, at least one: each comes in the same array. */
export function* batchesOf(source: SampleSource, samples: number, batch: number): Generator<Float32Array> {
  const buffer = new Float32Array(batch * source.size);
  for (let start = 0; start + batch <= Math.max(samples, batch); start += batch) {
    source.read(
      Array.from({ length: batch }, (_, i) => start + i),
      buffer,
    );
    yield buffer;
  }
}
