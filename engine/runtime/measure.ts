/** How fast a device multiplies matrices: the measure by which devices are listed and chosen. */
import { messageOf } from '../errors.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { openRuntime, type Runtime } from './session.js';
import type { DeviceKind, Rates } from '../protocol/protocol.js';

/** Outcome of trying a device. */
export type Trial = Rates | { readonly reason: string };

/** Sizes of products that are tried (docs/METHOD.md, section 10). */
const SMALLEST = 256;
const LARGEST = 4096;
/** A product that takes this long is timed to a few percent. */
const ENOUGH_SECONDS = 0.05;
const REPEATS = 3;
/** Additions in a chain, and the elements of its tensors: more than caches hold, as between the operators of a step. */
const CHAIN = 64;
const ELEMENTS = 1 << 20;

/** Opens a device and measures it in this process, which a broken driver may abort; 0.2 to 3 s in all. */
export async function tryDevice(kind: DeviceKind, threads = 0): Promise<Trial> {
  try {
    const runtime = openRuntime(kind, threads);
    try {
      return {
        gflops: await productRate(runtime),
        gelements: (CHAIN * ELEMENTS) / (await chainSeconds(runtime, ELEMENTS)) / 1e9,
        overhead: (await chainSeconds(runtime, 1)) / CHAIN,
      };
    } finally {
      await runtime.dispose();
    }
  } catch (error) {
    return { reason: messageOf(error) };
  }
}

/** GFLOP/s of a float32 product of square matrices, which grow until one takes long enough. */
async function productRate(runtime: Runtime): Promise<number> {
  for (let n = SMALLEST; ; n *= 2) {
    const seconds = await productSeconds(runtime, n);
    if (seconds >= ENOUGH_SECONDS || n === LARGEST) return (2 * n ** 3) / seconds / 1e9;
  }
}

/** The median time of a product of [n, n] matrices that lie on the device. */
async function productSeconds(runtime: Runtime, n: number): Promise<number> {
  const graph = new Graph();
  const [a, b] = [graph.input('a', [n, n]), graph.input('b', [n, n])];
  // One element comes back, so that a run ends when the product does.
  graph.output('y', op.slice(op.slice(op.matMul(a, b), 0, 0, 1), 1, 0, 1));
  const program = await runtime.compile(graph, `matrix product ${n}`, { keep: false });
  const data = Float32Array.from({ length: n * n }, (_, i) => (i % 7) - 3);
  const matrix = await runtime.place(runtime.tensor(data, [n, n]));
  const feeds = { a: matrix, b: matrix };
  await time(); // The first run compiles kernels and packs weights.
  const times = [await time()];
  if (times[0]! >= ENOUGH_SECONDS || n === LARGEST) while (times.length < REPEATS) times.push(await time());
  matrix.dispose();
  await program.dispose();
  return median(times);

  async function time() {
    const start = performance.now();
    await program.run(feeds);
    return (performance.now() - start) / 1000;
  }
}

/** The median time of a chain of additions to a tensor of so many elements that lies on the device. */
async function chainSeconds(runtime: Runtime, elements: number): Promise<number> {
  const graph = new Graph();
  const x = graph.input('x', [elements]);
  let y = x;
  for (let i = 0; i < CHAIN; i++) y = op.add(y, x);
  graph.output('y', op.slice(y, 0, 0, 1));
  const program = await runtime.compile(graph, `chain of additions of ${elements}`, { keep: false });
  const placed = await runtime.place(runtime.tensor(new Float32Array(elements).fill(1), [elements]));
  const times: number[] = [];
  for (let i = -1; i < REPEATS; i++) {
    const start = performance.now();
    await program.run({ x: placed });
    // The first run compiles kernels and takes memory.
    if (i >= 0) times.push((performance.now() - start) / 1000);
  }
  placed.dispose();
  await program.dispose();
  return median(times);
}

const median = (list: readonly number[]): number => [...list].sort((x, y) => x - y)[list.length >> 1]!;
