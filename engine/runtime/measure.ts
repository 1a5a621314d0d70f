/** How fast a device multiplies matrices: the measure by which devices are listed and chosen. */
import { messageOf } from '../errors.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { openRuntime, type DeviceKind, type Runtime } from './session.js';

/** Outcome of trying a device. */
export type Trial = { readonly gflops: number } | { readonly reason: string };

const SMALLEST = 256;
const LARGEST = 4096;
/** A product that takes this long is timed to a few percent. */
const ENOUGH_SECONDS = 0.05;
const REPEATS = 3;

/** Opens a device and measures it in this process, which a broken driver may abort. */
export async function tryDevice(kind: DeviceKind): Promise<Trial> {
  try {
    return { gflops: await productRate(openRuntime(kind)) };
  } catch (error) {
    return { reason: messageOf(error) };
  }
}

/** GFLOP/s of a float32 product of square matrices, which grow until one takes long enough: 0.1 to 2 s in all. */
async function productRate(runtime: Runtime): Promise<number> {
  for (let n = SMALLEST; ; n *= 2) {
    const seconds = await productSeconds(runtime, n);
    if (seconds >= ENOUGH_SECONDS || n === LARGEST) {
      await runtime.dispose();
      return (2 * n ** 3) / seconds / 1e9;
    }
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
  const time = async () => {
    const start = performance.now();
    await program.run(feeds);
    return (performance.now() - start) / 1000;
  };
  await time(); // The first run compiles kernels and packs weights.
  const times = [await time()];
  if (times[0]! >= ENOUGH_SECONDS || n === LARGEST) while (times.length < REPEATS) times.push(await time());
  matrix.dispose();
  await program.dispose();
  return times.sort((x, y) => x - y)[times.length >> 1]!;
}
