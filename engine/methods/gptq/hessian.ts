/** The Hessian of a layer's squared error: the sum of x xᵀ over its inputs x, up to a factor. */
import { batchReader, tensorsOfBatch } from '../../execution/batches.js';
import { everySample, type Samples, type Sources } from '../../execution/sample-store.js';
import { CancelledError } from '../../errors.js';
import { Graph } from '../../graph/ir.js';
import { addMoment, tapPart, tokenWeights } from '../../execution/taps.js';
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';

/** A part with its parameters on the device, and what it reads. */
export interface PlacedPart {
  readonly part: Part;
  readonly parameters: Readonly<Record<string, Tensor>>;
  readonly source: Samples;
  readonly side: Sources;
  /** Samples that run at once. */
  readonly batch: number;
}

/**
 * Σ x xᵀ over all tokens of all samples, x [features] what the layer reads in this part, those with massive activations
 * counting less (`tokenWeights`): [features, features], added up on the device.
 */
export async function inputHessian(
  programs: Programs,
  { part, parameters, source, side, batch }: PlacedPart,
  layer: { readonly name: string; readonly in: number },
  { signal, status }: { readonly signal: AbortSignal; readonly status: (done: number) => void },
): Promise<Float32Array> {
  const { runtime } = programs;
  const graph = hessianGraph(part, layer.name, batch);
  const program = await programs.get(graph, `hessian ${part.kind} ${layer.name} ×${batch}`);
  const reader = batchReader(part, source, side, batch);
  const indices = everySample(source);
  let hessian = await runtime.place(
    runtime.tensor(new Float32Array(layer.in * layer.in), [layer.in, layer.in]),
  );
  for (let start = 0; start < indices.length; start += batch) {
    if (signal.aborted) throw new CancelledError();
    const picked = indices.slice(start, start + batch);
    // The last batch is filled up with zero samples, which count nothing even where they do not stay zero.
    reader.clear();
    const counted = new Float32Array(batch).fill(1, 0, picked.length);
    const next = await program.run({
      ...parameters,
      hessian,
      ...tensorsOfBatch(runtime, part, reader.read(picked), batch),
      counted: runtime.tensor(counted, [batch, 1, 1]),
    });
    hessian.dispose();
    hessian = next.sum!;
    status(Math.min(1, (start + batch) / indices.length));
  }
  const read = await runtime.read(hessian);
  hessian.dispose();
  return read;
}

/** Inputs `x`, `side.<name>` for the part's side ports, its parameters, `hessian` [features, features] and `counted` [batch, 1, 1], 1 for samples that count and 0 for others; output `sum`. */
export function hessianGraph(part: Part, layer: string, batch: number): Graph {
  const graph = new Graph();
  const tap = tapPart(graph, part, batch).layers.get(layer)!;
  const features = tap.x.shape[1]!;
  const before = graph.input('hessian', [features, features]);
  graph.output('sum', addMoment(tap.x, tokenWeights(graph, tap, batch, 'ordinary'), before));
  return graph;
}
