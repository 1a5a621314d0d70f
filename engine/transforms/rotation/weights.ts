/** Turning the parameters of a part: what `checkpoint.ts` says of its activations, done to its weights. */
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { LinearEntry, PartListing } from '../../models/listing.js';
import type { Roles } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { rotate } from './rotate.js';

/** How an axis is turned: in groups of `size`, with signs [size] or without. */
interface Turn {
  readonly size: number;
  readonly signs?: Float32Array;
}

/** What becomes of a weight [out, in]: Rᵀ·W·diag(gain)·R', each where there is one. */
interface WeightTurns {
  readonly rows?: Turn | undefined;
  readonly columns?: Turn | undefined;
  readonly gain?: Float32Array | undefined;
}

/**
 * The parameters of a part turned; gains of the stream's norms are 1 then.
 * @param signs of the stream's rotation, [features]
 */
export async function turnParameters(
  programs: Programs,
  roles: Roles,
  listing: PartListing,
  parameters: ReadonlyMap<string, HostTensor>,
  signs: Float32Array,
): Promise<Map<string, HostTensor>> {
  const stream = { size: signs.length, signs };
  const turned = new Map(parameters);
  const turn = async (name: string, turns: WeightTurns) => {
    const tensor = parameters.get(name);
    if (tensor) turned.set(name, await turnWeight(programs, tensor, turns));
  };
  for (const layer of listing.linears) {
    const turns = turnsOf(layer, roles, stream, parameters);
    await turn(`${layer.name}.weight`, turns);
    // A bias is one row, in the layer's outputs.
    if (turns.rows) await turn(`${layer.name}.bias`, { columns: turns.rows });
  }
  for (const name of roles.writers)
    if (!listing.linears.some((l) => l.name === name)) await turn(`${name}.weight`, { columns: stream });
  for (const name of roles.norms) {
    const { shape, data } = parameters.get(`${name}.weight`)!;
    turned.set(`${name}.weight`, { shape, data: new Float32Array(data.length).fill(1) });
  }
  return turned;
}

function turnsOf(
  { name, in: columns, norm }: LinearEntry,
  { writers, norms, attention, gated }: Roles,
  stream: Turn,
  parameters: ReadonlyMap<string, HostTensor>,
): WeightTurns {
  const heads = attention?.valueLayer === undefined ? undefined : { size: attention.size };
  const rows = writers.includes(name) ? stream : name === attention?.valueLayer ? heads : undefined;
  if (norm !== undefined && norms.includes(norm))
    return { rows, columns: stream, gain: parameters.get(`${norm}.weight`)!.data };
  if (name === attention?.outputLayer) return { rows, columns: heads };
  return { rows, columns: name === gated ? { size: columns } : undefined };
}

/** Where rows do not mix, so many elements are turned at once (docs/METHOD.md, section 9). */
const PIECE = 1 << 24;

async function turnWeight(programs: Programs, tensor: HostTensor, turns: WeightTurns): Promise<HostTensor> {
  const { runtime } = programs;
  const { shape, data } = tensor;
  const { rows, columns, gain } = turns;
  const features = shape.at(-1)!;
  const out = data.length / features;
  const most = rows ? out : Math.max(1, Math.floor(PIECE / features));
  const signsOf = (name: string, turn: Turn | undefined) =>
    turn?.signs && { [name]: runtime.tensor(turn.signs, [turn.size]) };
  const fixed = {
    ...(gain && { gain: runtime.tensor(gain, [features]) }),
    ...signsOf('signs.rows', rows),
    ...signsOf('signs.columns', columns),
  };
  const turned = new Float32Array(data.length);
  for (let from = 0; from < out; from += most) {
    const count = Math.min(most, out - from);
    const graph = turnGraph(count, features, turns);
    const program = await programs.get(graph, `turn ${count}×${features}`, { keep: false });
    const piece = data.subarray(from * features, (from + count) * features);
    const outputs = await program.run({ ...fixed, weight: runtime.tensor(piece, [count, features]) });
    turned.set(await runtime.read(outputs.turned!), from * features);
  }
  return { shape, data: turned };
}

function turnGraph(out: number, features: number, { rows, columns, gain }: WeightTurns): Graph {
  const graph = new Graph();
  const signsOf = (name: string, turn: Turn) => (turn.signs ? graph.input(name, [turn.size]) : undefined);
  let weight = graph.input('weight', [out, features]);
  if (gain) weight = op.mul(weight, graph.input('gain', [features]));
  if (columns) weight = rotate(weight, 1, columns.size, signsOf('signs.columns', columns));
  if (rows) weight = rotate(weight, 0, rows.size, signsOf('signs.rows', rows));
  graph.output('turned', weight);
  return graph;
}
