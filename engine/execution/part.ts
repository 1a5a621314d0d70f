/** A part in full precision, ready to run. */
import { Graph } from '../graph/ir.js';
import { matrixFlops } from '../graph/work.js';
import { buildPart, fullPrecision, type PortShapes } from '../models/builders.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { Part } from '../models/model.js';
import type { Rope } from '../models/rope.js';
import type { Programs } from '../runtime/programs.js';
import { remembered } from '../runtime/remembered.js';
import type { Program, Tensor } from '../runtime/session.js';
import { keeping } from './kept-tokens.js';
import { byColumns, NONE, turned } from './wide-layers.js';

/**
 * A part in full precision: inputs `x`, `side.<name>` for its side ports and the parameters, output `y`; see `keeping`.
 * @param wide layers whose weights are [in, out]
 */
export function plainGraph(
  part: Part,
  batch: number,
  shapes?: PortShapes,
  kept?: Kept,
  wide: ReadonlySet<string> = NONE,
): Graph {
  const graph = new Graph();
  const plain = byColumns(fullPrecision(graph), wide);
  const builder = kept ? keeping(graph, plain, kept.room, kept.rope) : plain;
  graph.output('y', buildPart(graph, part, builder, batch, shapes));
  return graph;
}

/** That keys and values are kept, with so much room for tokens before; 0 where a text begins. */
export interface Kept {
  readonly room: number;
  readonly rope: Rope;
}

/** What one sample of a part takes in matrix products, in floating-point operations; at least 1. */
export const partFlops = (part: Part): number => Math.max(1, matrixFlops(plainGraph(part, 1)));

export type Tensors = Readonly<Record<string, Tensor>>;

/** A part with its tensors on the device, ready to run. */
export interface RunnablePart {
  /**
   * `batch` samples, shaped as the part's input, those of a language model of any one length; the output stays on the device.
   * A length of its own is a program of its own.
   * @param side what feeds its side ports, `side.<name>` for each
   */
  run(x: Tensor, batch: number, side?: Tensors): Promise<Tensor>;
  /**
   * A sample whose keys and values are kept: from its beginning, or one token of it behind those that are.
   * @param before what `keeping` declares beside the part's own inputs
   */
  keep(x: Tensor, kept: Kept, before: Tensors): Promise<Tensors>;
  dispose(): void;
}

/** @param wide layers whose weights are to lie by columns */
export async function openPlainPart(
  programs: Programs,
  part: Part,
  parameters: ReadonlyMap<string, HostTensor>,
  wide: ReadonlySet<string> = NONE,
): Promise<RunnablePart> {
  const fixed = await placeAll(programs, parameters);
  for (const name of wide) {
    const weight = fixed[`${name}.weight`]!;
    fixed[`${name}.weight`] = await turned(programs, weight);
    weight.dispose();
  }
  const known = new Map<string, Promise<Program>>();
  const outputs = async (ports: Tensors, batch: number, kept?: Kept, before: Tensors = {}) => {
    const name = `plain ${runOf(part, ports, batch)}${keptName(kept)}`;
    const program = await remembered(known, name, () =>
      programs.get(plainGraph(part, batch, shapesOf(ports), kept, wide), name),
    );
    return program.run({ ...fixed, ...ports, ...before });
  };
  return {
    run: async (x, batch, side = {}) => (await outputs({ ...side, x }, batch)).y!,
    keep: (x, kept, before) => outputs({ x }, 1, kept, before),
    dispose: () => disposeAll(fixed),
  };
}

/** Tensors on the device, by name; whoever asks for them disposes of them. */
export async function placeAll(
  { runtime }: Pick<Programs, 'runtime'>,
  tensors: Iterable<readonly [name: string, tensor: HostTensor]>,
): Promise<Record<string, Tensor>> {
  const placed: Record<string, Tensor> = {};
  try {
    for (const [name, { data, shape }] of tensors)
      placed[name] = await runtime.place(runtime.tensor(data, shape));
    return placed;
  } catch (error) {
    disposeAll(placed);
    throw error;
  }
}

/** Puts a tensor in the place of the one of that name, where there is one. */
export async function replace(
  programs: Pick<Programs, 'runtime'>,
  placed: Record<string, Tensor>,
  name: string,
  tensor: HostTensor,
): Promise<void> {
  const next = await placeAll(programs, [[name, tensor]]);
  placed[name]?.dispose();
  Object.assign(placed, next);
}

/** What a run's graph depends on, precision apart. */
export const runOf = ({ kind }: Part, inputs: Tensors, batch: number) =>
  `${kind} ×${batch} on ${Object.entries(inputs)
    .map(([name, { shape }]) => `${name} ${shape.join('×')}`)
    .join()}`;

export const keptName = (kept: Kept | undefined): string => (kept ? ` behind ${kept.room}` : '');

export const shapesOf = (tensors: Tensors): PortShapes =>
  Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));

export function disposeAll(tensors: Tensors): void {
  for (const tensor of Object.values(tensors)) tensor.dispose();
}
