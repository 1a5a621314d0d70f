/**
 * What one layer takes between its Hessian and its rounded weights: the factor, and each of OAC's back-ends, beside a matrix product
 * as large, by time and by CPU time.
 * Usage: npm run bench:layer [-- --width 4096] [--backends gptq,spqr,billm] [--threads N]
 */
import { parseArgs } from 'node:util';
import { table } from '../engine/cli/format.js';
import { createRandom } from '../engine/data/random.js';
import { Graph } from '../engine/graph/ir.js';
import * as op from '../engine/graph/ops.js';
import { matrixFlops } from '../engine/graph/work.js';
import { factorLayer, roundLayers, type LayerHessian } from '../engine/methods/oac/backends.js';
import type { BackendName, OacSettings } from '../engine/methods/oac/settings.js';
import type { Programs } from '../engine/runtime/programs.js';
import { withDevice } from '../engine/runtime/with-device.js';

const { values: flags } = parseArgs({
  options: {
    width: { type: 'string', default: '4096' },
    backends: { type: 'string', default: 'gptq,spqr,billm' },
    threads: { type: 'string' },
  },
});
const n = Number(flags.width);
/** Rank of what inputs have in common, beside a part of each alone. */
const RANK = 16;

const random = createRandom(0, 'bench');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

/** Σ x xᵀ of inputs that depend on each other, [n, n]. */
function hessian(): Float32Array {
  const factors = normals(n * RANK);
  const found = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    const own = factors.subarray(i * RANK, (i + 1) * RANK);
    for (let j = 0; j <= i; j++) {
      const other = factors.subarray(j * RANK, (j + 1) * RANK);
      const sum = own.reduce((total, x, k) => total + x * other[k]!, i === j ? 1 : 0);
      found[i * n + j] = sum;
      found[j * n + i] = sum;
    }
  }
  return found;
}

const layer: LayerHessian = {
  label: 'layer',
  layer: { name: 'layer', in: n, out: n } as LayerHessian['layer'],
  weight: { data: normals(n * n), shape: [n, n] },
  hessian: hessian(),
  isDead: () => false,
};

const hooks = {
  signal: new AbortController().signal,
  note: (line: string) => process.stderr.write(`${line}\n`),
};
const rows: string[][] = [];

const BITS: Readonly<Record<BackendName, readonly number[]>> = { gptq: [4, 2], spqr: [2.1], billm: [1] };

/** @param flops undefined where it is not known: a search rounds as often as it must */
async function timed<T>(what: string, flops: number | undefined, run: () => Promise<T>): Promise<T> {
  const before = { time: performance.now(), cpu: process.cpuUsage() };
  const result = await run();
  const { user, system } = process.cpuUsage(before.cpu);
  const [seconds, cpu] = [(performance.now() - before.time) / 1000, (user + system) / 1e6];
  rows.push([
    what,
    seconds.toFixed(1),
    cpu.toFixed(1),
    flops === undefined ? '–' : (flops / 1e9 / cpu).toFixed(0),
  ]);
  return result;
}

const settingsOf = (backend: BackendName): OacSettings => ({
  ...{ mode: 'weight-only', offered: [], samples: 0, batch: 1, seed: 0 },
  ...{
    backend,
    hessian: 'l2',
    rowSlices: 1,
    mix: 0,
    scheme: 'once',
    labels: 'data',
    damping: undefined,
    groupSize: 128,
  },
});

async function product(programs: Programs): Promise<void> {
  const graph = new Graph();
  graph.output('y', op.matMul(graph.input('x', [n, n]), graph.input('w', [n, n])));
  const program = await programs.get(graph, 'product');
  const placed = {
    x: programs.runtime.tensor(layer.weight.data, [n, n]),
    w: programs.runtime.tensor(layer.hessian, [n, n]),
  };
  const run = async () => (await program.run(placed)).y!.dispose();
  await run();
  await timed(`matrix product of ${n} × ${n} × ${n}`, matrixFlops(graph), run);
}

await withDevice(
  { device: 'cpu', ...(flags.threads !== undefined && { threads: Number(flags.threads) }) },
  async (programs) => {
    await product(programs);
    for (const backend of flags.backends.split(',') as BackendName[]) {
      const settings = settingsOf(backend);
      const factored = await timed(`factor, ${backend}`, (2 / 3) * n ** 3, () =>
        factorLayer(programs, layer, settings, backend, hooks),
      );
      for (const bits of BITS[backend])
        await timed(`${backend}, ${bits} bits`, backend === 'spqr' ? undefined : 2 * n ** 3, () =>
          roundLayers(programs, [factored], settings, bits, hooks.signal),
        );
    }
  },
);
process.stdout.write(`${table(['one layer', 'seconds', 'CPU seconds', 'GFLOP per CPU second'], rows)}\n`);
