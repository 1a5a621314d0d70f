/** Where the time of a graph goes, by ONNX Runtime's own record. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Graph } from '../graph/ir.js';
import type { Runtime, Tensor } from './session.js';

export interface OperatorTime {
  readonly op: string;
  /** Mean of a run, all nodes of this operator together. Operators may overlap with nothing: they sum to the run. */
  readonly milliseconds: number;
  /** Nodes of this operator, after ONNX Runtime's own optimizations. */
  readonly nodes: number;
}

/** One entry of the record; times are in microseconds. */
interface ProfileEvent {
  readonly cat: string;
  readonly name: string;
  readonly dur: number;
  readonly args?: { readonly op_name?: string };
}

/** Runs a graph `runs` times under the profiler; the longest operator first. */
export async function profileGraph(
  runtime: Runtime,
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  runs: number,
): Promise<OperatorTime[]> {
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-profile-'));
  try {
    const program = await runtime.compile(graph, 'profile', { profile: join(folder, 'run') });
    for (let i = 0; i < runs; i++)
      for (const tensor of Object.values(await program.run(feeds))) tensor.dispose();
    await program.dispose();
    const [file] = await readdir(folder);
    const events = JSON.parse(await readFile(join(folder, file!), 'utf8')) as ProfileEvent[];
    const totals = new Map<string, { time: number; count: number }>();
    for (const { cat, name, dur, args } of events) {
      if (cat !== 'Node' || !name.endsWith('_kernel_time') || args?.op_name === undefined) continue;
      const { time, count } = totals.get(args.op_name) ?? { time: 0, count: 0 };
      totals.set(args.op_name, { time: time + dur, count: count + 1 });
    }
    return [...totals]
      .map(([op, { time, count }]) => ({ op, milliseconds: time / 1000 / runs, nodes: count / runs }))
      .sort((a, b) => b.milliseconds - a.milliseconds);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
