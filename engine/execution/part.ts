/** A part in full precision, ready to run. */
import { Graph } from '../graph/ir.js';
import { fullPrecision } from '../models/builders.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { remembered } from '../runtime/remembered.js';
import type { Program, Tensor } from '../runtime/session.js';

/** A part in full precision: inputs `x` and the parameters, output `y`. */
export function plainGraph(part: Part, batch: number, shape = part.inputShape(batch)): Graph {
  const graph = new Graph();
  graph.output('y', part.forward(fullPrecision(graph), graph.input('x', shape, part.inputType), batch));
  return graph;
}

/** A part with its tensors on the device, ready to run. */
export interface RunnablePart {
  /**
   * `batch` samples, shaped as the part's input, those of a language model of any one length; the output stays on the device.
   * A length of its own is a program of its own.
   */
  run(x: Tensor, batch: number): Promise<Tensor>;
  dispose(): void;
}

export async function openPlainPart(
  programs: Programs,
  part: Part,
  parameters: ReadonlyMap<string, HostTensor>,
): Promise<RunnablePart> {
  const { runtime } = programs;
  const fixed: Record<string, Tensor> = {};
  for (const [name, { data, shape }] of parameters)
    fixed[name] = await runtime.place(runtime.tensor(data, shape));
  const known = new Map<string, Promise<Program>>();
  return {
    run: async (x, batch) => {
      const name = `plain ${runOf(part, x, batch)}`;
      const program = await remembered(known, name, () =>
        programs.get(plainGraph(part, batch, x.shape), name),
      );
      return (await program.run({ ...fixed, x })).y!;
    },
    dispose: () => disposeAll(fixed),
  };
}

/** What a run's graph depends on, precision apart. */
export const runOf = ({ kind }: Part, x: Tensor, batch: number) =>
  `${kind} ×${batch} on ${x.shape.join('×')}`;

export function disposeAll(tensors: Readonly<Record<string, Tensor>>): void {
  for (const tensor of Object.values(tensors)) tensor.dispose();
}
