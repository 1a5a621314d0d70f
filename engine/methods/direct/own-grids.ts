/** Grids of activations as the streams of bit-widths have them, found just before the layers that read them are rounded. */
import { batchesOf, tensorsOfBatch } from '../../execution/batches.js';
import { requireFinite } from '../../execution/finite.js';
import { concatenate } from '../../execution/observe.js';
import { suffixOf } from '../../execution/sums.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { Graph, reachable, sizeOf, type Value } from '../../graph/ir.js';
import type { LinearEntry } from '../../models/listing.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import { gridTensors } from '../activation-grids.js';
import type { BlockAt, Parameters } from '../walk.js';
import { ownTaps } from './own-taps.js';
import { placeLimits } from './quantizers.js';
import { searchGrid } from './ranges.js';
import { ownWidths, type DirectSettings } from './settings.js';
import { formIn } from './start.js';

/** Elements of an activation that are looked at (docs/METHOD.md, section 13). */
const ELEMENTS = 2 ** 20;

/** What stands of a block while its layers are rounded one after another. */
export interface BlockState {
  /** On the device: parameters, weights of streams, and what quantizers take. */
  readonly placed: Record<string, Tensor>;
  /** Of every activation and bit-width; changed to what is found. */
  readonly grids: NamedTensors;
  /** Layers that are rounded, at every bit-width. */
  readonly done: ReadonlySet<string>;
  /** Operands whose grids are found; grows. */
  readonly searched: Set<string>;
}

/**
 * Searches the grids of what a group of layers reads, and before it those of the operands that this is made of, in every
 * stream.
 */
export async function searchOwnGrids(
  programs: Programs,
  block: BlockAt,
  settings: DirectSettings,
  group: readonly [LinearEntry, ...LinearEntry[]],
  state: BlockState,
): Promise<void> {
  const [{ name }] = group;
  const operands = operandsOf(block, settings, name).filter((operand) => !state.searched.has(operand));
  for (const operand of operands) state.searched.add(operand);
  await searchAll(programs, block, settings, new Map(operands.map((operand) => [operand, []])), state);
  await searchAll(programs, block, settings, new Map([[name, group]]), state);
}

/** The operands that what a layer reads is made of. */
function operandsOf(block: BlockAt, settings: DirectSettings, layer: string): string[] {
  const { read } = ownTaps(new Graph(), block, settings, 0, new Set());
  const used = new Set<Value | undefined>(reachable([read.get(layer)!]).flatMap(({ inputs }) => inputs));
  return block.listing.operands.filter((operand) => used.has(read.get(operand)));
}

/** @param readers of each activation, the layers that read it */
async function searchAll(
  programs: Programs,
  block: BlockAt,
  settings: DirectSettings,
  readers: ReadonlyMap<string, readonly LinearEntry[]>,
  { placed, grids, done }: BlockState,
): Promise<void> {
  if (readers.size === 0) return;
  const owners = [...readers.keys()];
  for (const [i, bits] of ownWidths(settings).entries()) {
    const graph = new Graph();
    const { read } = ownTaps(graph, block, settings, i, done);
    for (const owner of owners) graph.output(owner, read.get(owner)!);
    const seen = await collect(programs, graph, block, i + 1, placed);
    for (const [owner, layers] of readers) {
      const form = formIn(grids, bits)(owner);
      if (form === 'token') continue;
      const cost = costOfColumns(block.parameters, layers, read.get(owner)!.shape.at(-1)!);
      const grid = searchGrid({ values: seen.get(owner)!, cost }, bits, form);
      for (const [name, tensor] of gridTensors(owner, grid, bits)) grids.set(name, tensor);
    }
    await placeLimits(programs, placed, owners, formIn(grids, bits), bits, suffixOf(i + 1));
  }
}

/** What an error of each column costs in the outputs of the layers that read it, or 1 where none does. */
function costOfColumns(
  parameters: Parameters,
  layers: readonly LinearEntry[],
  columns: number,
): Float64Array {
  const cost = new Float64Array(columns).fill(layers.length > 0 ? 0 : 1);
  for (const { name } of layers) {
    const { data } = parameters.get(`${name}.weight`)!;
    for (let i = 0; i < data.length; i++) cost[i % columns]! += data[i]! ** 2;
  }
  return cost;
}

/** Runs a graph on some samples of a stream and collects its outputs, by name, elements row-major. */
async function collect(
  programs: Programs,
  graph: Graph,
  { part, streams, batch }: Pick<BlockAt, 'part' | 'streams' | 'batch'>,
  stream: number,
  placed: Readonly<Record<string, Tensor>>,
): Promise<Map<string, Float32Array>> {
  const { runtime } = programs;
  const { x, side } = streams[stream]!;
  const program = await programs.get(graph, `seen ${part.kind} ×${batch}`);
  const chunks = new Map<string, Float32Array[]>([...graph.outputs.keys()].map((name) => [name, []]));
  const largest = Math.max(...[...graph.outputs.values()].map(({ shape }) => sizeOf(shape)));
  const samples = Math.min(x.samples, batch * Math.max(1, Math.floor(ELEMENTS / largest)));
  for (const data of batchesOf(part, x, side, samples, batch)) {
    const ports = tensorsOfBatch(runtime, part, data, batch, suffixOf(stream));
    const outputs = await program.run({ ...placed, ...ports });
    for (const [name, own] of chunks) {
      const values = (await runtime.read(outputs[name]!)).slice();
      requireFinite(values, part.prefix + name);
      own.push(values);
      outputs[name]!.dispose();
    }
  }
  return new Map([...chunks].map(([name, own]) => [name, concatenate(own)]));
}
