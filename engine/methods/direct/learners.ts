/** All blocks of a model with their weights in training at a bit-width: one step takes all of them (docs/METHOD.md, section 13). */
import { disposeAll, placeAll, type Tensors } from '../../execution/part.js';
import { sizeOf } from '../../graph/ir.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { LinearEntry } from '../../models/listing.js';
import { blocksOf, type Part } from '../../models/model.js';
import type { GridWeight } from '../../quantized/weight.js';
import type { Program, Tensor } from '../../runtime/session.js';
import type { CalibrationContext } from '../method.js';
import { backwardGraph, forwardGraph } from './distil-step.js';
import { groupsOf, type Grids } from './grids.js';
import { layoutAt, type DirectSettings } from './settings.js';
import { readTrained, type Trained } from './trained.js';
import { growthName, trainedShapes, weightName } from './train-step.js';

/** What is trained of a layer, and the zero points that it keeps. */
export interface TrainedLayer extends Trained {
  readonly zero: Float32Array;
}

export interface Learners {
  /** @param ports what every block reads beside its input @param x what the first reads @returns what the last yields */
  forward(ports: Tensors, x: Tensor): Promise<Tensor>;
  /**
   * Takes a step of every block by what `forward` ran last, last block first; disposes of `gradient`, of what the last yielded.
   * @param sizes of the step (`trained.ts`)
   */
  backward(gradient: Tensor, sizes: Tensors): Promise<void>;
  /** Of every block, by layer. Throws UserError where something became NaN. */
  read(): Promise<ReadonlyMap<string, TrainedLayer>[]>;
  dispose(): void;
}

type ReadWeight = (part: Part, layer: LinearEntry, bits: number) => Promise<GridWeight>;

interface Learner {
  readonly part: Part;
  readonly linears: readonly LinearEntry[];
  readonly grids: ReadonlyMap<string, Grids>;
  readonly fixed: Tensors;
  readonly forward: Program;
  readonly backward: Program;
  state: Record<string, Tensor>;
}

/** @param read the weights that training begins with */
export async function openLearners(
  context: CalibrationContext,
  settings: DirectSettings,
  bits: number,
  batch: number,
  read: ReadWeight,
): Promise<Learners> {
  const { programs, checkpoint } = context;
  const { runtime } = programs;
  const learners: Learner[] = [];
  const dispose = () => learners.forEach(({ fixed, state }) => disposeAll({ ...fixed, ...state }));
  try {
    for (const part of blocksOf(checkpoint.model))
      learners.push(await openLearner(context, settings, part, bits, batch, read));
  } catch (error) {
    dispose();
    throw error;
  }
  const levels = runtime.tensor(Float32Array.of(2 ** bits - 1), []);
  /** What each block read, and beside it. */
  let xs: Tensor[] = [];
  let beside: Tensors = {};
  return {
    forward: async (ports, x) => {
      beside = { ...ports, levels };
      xs = [x];
      for (const { fixed, state, forward } of learners) {
        const needed = Object.entries(state).filter(([name]) => !isMoment(name));
        const { y } = await forward.run({
          ...fixed,
          ...Object.fromEntries(needed),
          ...beside,
          x: xs.at(-1)!,
        });
        xs.push(y!);
      }
      return xs.pop()!;
    },
    backward: async (gradient, sizes) => {
      let dy = gradient;
      for (const learner of [...learners].reverse()) {
        const { fixed, state, backward } = learner;
        const x = xs.pop()!;
        const { dx, ...outputs } = await backward.run({ ...fixed, ...state, ...beside, ...sizes, x, dy });
        for (const tensor of [x, dy, ...Object.values(state)]) tensor.dispose();
        dy = dx!;
        const names = Object.keys(state);
        learner.state = Object.fromEntries(names.map((name) => [name, outputs[`next.${name}`]!]));
      }
      dy.dispose();
    },
    read: async () => {
      const found: Map<string, TrainedLayer>[] = [];
      for (const { part, linears, state, grids } of learners) {
        const trained = await readTrained(programs, part, linears, state, grids, bits);
        found.push(
          new Map([...trained].map(([name, own]) => [name, { ...own, zero: grids.get(name)!.zero }])),
        );
      }
      return found;
    },
    dispose,
  };
}

const MOMENTS = ['.m', '.v'];
const isMoment = (name: string): boolean => MOMENTS.some((suffix) => name.endsWith(suffix));

async function openLearner(
  { programs, checkpoint }: CalibrationContext,
  settings: DirectSettings,
  part: Part,
  bits: number,
  batch: number,
  read: ReadWeight,
): Promise<Learner> {
  const { runtime } = programs;
  const { groupSize } = layoutAt(settings, bits);
  const { linears } = checkpoint.listing(part);
  const parameters = await checkpoint.read(part);
  const shapes = trainedShapes(linears, groupSize);
  const grids = new Map<string, Grids>();
  const fixed: [string, HostTensor][] = [...parameters].filter(([name]) => !shapes.has(name));
  const state: Record<string, Tensor> = {};
  for (const layer of linears) {
    const { name } = layer;
    const weight = await read(part, layer, bits);
    const { scale, zero } = weight;
    const shape = [scale.length, 1];
    grids.set(name, { scale, zero });
    fixed.push([`${name}.scale`, { data: scale, shape }], [`${name}.zero`, { data: zero, shape }]);
    const { data } = parameters.get(weightName(name))!;
    state[weightName(name)] = runtime.tensor(withinCells(data, weight), shapes.get(weightName(name))!);
    state[growthName(name)] = runtime.tensor(new Float32Array(scale.length), shape);
  }
  for (const [name, shape] of shapes)
    for (const suffix of MOMENTS)
      state[name + suffix] = runtime.tensor(new Float32Array(sizeOf(shape)), shape);
  const program = (graph: ReturnType<typeof forwardGraph>, what: string) =>
    programs.get(graph, `${what} ${part.kind} ×${batch}`);
  return {
    ...{ part, linears, grids, state },
    forward: await program(forwardGraph(part, linears, groupSize, batch), 'rounded'),
    backward: await program(backwardGraph(part, linears, groupSize, batch), 'learn'),
    fixed: await placeAll(programs, fixed),
  };
}

/** How far from the middle of its cell a weight begins at most, in steps of its grid. */
const INSIDE = 0.45;

/** The weight where it lies in the cell of its code, else as near to it as that goes. */
function withinCells(
  data: Float32Array,
  { codes, scale, zero, groupSize, shape: [, columns] }: GridWeight,
): Float32Array {
  const groups = groupsOf(columns, groupSize);
  const perGroup = groupSize === -1 ? columns : groupSize;
  return data.map((x, i) => {
    const row = Math.floor(i / columns);
    const grid = row * groups + Math.floor((i - row * columns) / perGroup);
    const step = scale[grid]!;
    const value = (codes[i]! - zero[grid]!) * step;
    const most = INSIDE * step;
    return value + Math.min(most, Math.max(-most, x - value));
  });
}
