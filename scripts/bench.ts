/**
 * One calibration step of a ViT-S block against a large matrix product on the same device, interleaved, medians.
 * Usage: npm run bench [-- --json] [--device cpu|webgpu|cuda|auto] [--runs N] [--profile]
 */
import { parseArgs } from 'node:util';
import { matrixFlops } from '../engine/graph/work.js';
import { Graph, sizeOf, type Value } from '../engine/graph/ir.js';
import * as op from '../engine/graph/ops.js';
import { createRandom } from '../engine/data/random.js';
import { adapterLayout } from '../engine/methods/quept/adapters.js';
import { bitGroups } from '../engine/methods/quept/options.js';
import { stepGraph } from '../engine/methods/quept/step.js';
import { listPart } from '../engine/models/listing.js';
import { vitBlock } from '../engine/models/vit/vit.js';
import { profileGraph } from '../engine/runtime/profile.js';
import { chooseDevice } from '../engine/runtime/devices.js';
import { openRuntime, type Program, type Runtime, type Tensor } from '../engine/runtime/session.js';

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    device: { type: 'string', default: 'cpu' },
    runs: { type: 'string', default: '11' },
  },
});

const [WIDTH, HEADS, HIDDEN, TOKENS, BATCH] = [384, 6, 1536, 197, 8];
const GROUPS = bitGroups([[7, 8], [5, 6], [4]], [16, 32, 48]);
const SQUARE = 2048;

/** What an operator does, for the summary of where the time goes. */
const KINDS: Readonly<Record<string, readonly string[]>> = {
  'matrix products': ['Gemm', 'MatMul', 'FusedMatMul'],
  reductions: ['ReduceSum', 'ReduceMean', 'ReduceMax', 'ReduceMin', 'Softmax', 'LayerNormalization'],
  'moving data': [
    'Transpose',
    'Reshape',
    'Concat',
    'Split',
    'Slice',
    'Pad',
    'Expand',
    'Identity',
    'MemcpyToHost',
    'MemcpyFromHost',
  ],
};
const kindOf = (name: string) =>
  Object.keys(KINDS).find((kind) => KINDS[kind]!.includes(name)) ?? 'element-wise work';

const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[list.length >> 1]!;

/** A tensor for every input: plausible magnitudes, so that quantizers neither collapse nor saturate. */
function feedsOf(graph: Graph, runtime: Runtime): Record<string, Tensor> {
  const random = createRandom(0, 'bench');
  const fill = (name: string, { shape }: Value): Float32Array => {
    const constant = (x: number) => new Float32Array(sizeOf(shape)).fill(x);
    if (/\.(m|v)$|^losses$/.test(name)) return constant(0);
    if (name.startsWith('clip.')) return constant(4);
    if (name.startsWith('scale.')) return constant(0.05);
    if (name.startsWith('levels.')) return constant(15);
    if (name.startsWith('lower.')) return constant(-8);
    if (name.startsWith('upper.')) return constant(7);
    if (name.startsWith('rate.')) return constant(1e-3);
    if (name === 'correction') return constant(1);
    if (name.startsWith('select.')) return constant(0).map((_, i) => (i === 0 ? 1 : 0));
    const spread = name === 'lora' || name.endsWith('.weight') ? 0.05 : 1;
    return constant(0).map(() => spread * random.normal());
  };
  return Object.fromEntries(
    [...graph.inputs].map(([name, value]) => [name, runtime.tensor(fill(name, value), value.shape)]),
  );
}

async function milliseconds(
  program: Program,
  feeds: Record<string, Tensor>,
  runtime: Runtime,
  sync: string,
): Promise<number> {
  const start = performance.now();
  const outputs = await program.run(feeds);
  // A GPU returns before it is done: reading one small output waits for it.
  await runtime.read(outputs[sync]!);
  const end = performance.now();
  for (const tensor of Object.values(outputs)) tensor.dispose();
  return end - start;
}

const device = await chooseDevice(flags.device as 'auto');
const runtime = openRuntime(device);

const square = new Graph();
const product = op.matMul(square.input('a', [SQUARE, SQUARE]), square.input('b', [SQUARE, SQUARE]));
square.output('y', op.reduceMean(product, [0, 1]));
const part = vitBlock(
  {
    ...{ width: WIDTH, depth: 1, heads: HEADS, hidden: HIDDEN, epsilon: 1e-6, qkvBias: true },
    ...{
      image: { channels: 3, height: 224, width: 224 },
      patch: { height: 16, width: 16 },
      classes: 1000,
      classNames: new Map(),
    },
  },
  'vit',
  0,
  TOKENS,
);
const layout = adapterLayout(listPart(part), GROUPS, true);
const step = stepGraph(part, layout, {
  batch: BATCH,
  loss: 'mae',
  lowestApart: false,
  ownStreams: false,
});

const programs = {
  square: await runtime.compile(square, 'matrix product'),
  step: await runtime.compile(step, 'step'),
};
const feeds = { square: feedsOf(square, runtime), step: feedsOf(step, runtime) };
for (const all of [feeds.square, feeds.step])
  for (const [name, tensor] of Object.entries(all)) all[name] = await runtime.place(tensor);

const times = { square: [] as number[], step: [] as number[] };
const runs = Number(flags.runs);
for (let i = -2; i < runs; i++) {
  const squareTime = await milliseconds(programs.square, feeds.square, runtime, 'y');
  const stepTime = await milliseconds(programs.step, feeds.step, runtime, 'next.losses');
  if (i < 0) continue;
  times.square.push(squareTime);
  times.step.push(stepTime);
}

// Before profiling, which holds a second copy of the step.
const peakMemoryMiB = process.resourceUsage().maxRSS / 1024;
const operators = await profileGraph(runtime, step, feeds.step, Math.min(runs, 5));
const whole = operators.reduce((sum, { milliseconds: time }) => sum + time, 0);
const breakdown = new Map<string, number>();
for (const { op: name, milliseconds: time } of operators)
  breakdown.set(kindOf(name), (breakdown.get(kindOf(name)) ?? 0) + time / whole);

const matmulGflops = matrixFlops(square) / 1e6 / median(times.square);
const stepMilliseconds = median(times.step);
const gflop = matrixFlops(step) / 1e9;
const share = ((gflop / stepMilliseconds) * 1000) / matmulGflops;
const result = {
  device,
  matmulGflops,
  steps: [
    {
      name: 'vit-s block, batch 8, 3 bit groups',
      milliseconds: stepMilliseconds,
      gflop,
      share,
      peakMemoryMiB,
    },
  ],
};
if (flags.json) process.stdout.write(`${JSON.stringify(result)}\n`);
else
  process.stdout.write(
    [
      `device          ${device}`,
      `matrix product  ${SQUARE}×${SQUARE}×${SQUARE}, float32: ${matmulGflops.toFixed(1)} GFLOP/s (median of ${runs})`,
      `step            ViT-S block: width ${WIDTH}, ${HEADS} heads, ${TOKENS} tokens, batch ${BATCH}, groups ${GROUPS.map((g) => `{${g.bits.join()}} rank ${g.rank}`).join(' ')}`,
      `arithmetic      ${gflop.toFixed(1)} GFLOP in matrix products (2·m·n·k each; element-wise work is not counted)`,
      `time            ${stepMilliseconds.toFixed(0)} ms (median of ${runs}, interleaved with the matrix product)`,
      `rate            ${((gflop / stepMilliseconds) * 1000).toFixed(1)} GFLOP/s, ${(100 * share).toFixed(0)} % of the matrix product's`,
      `where it goes   ${[...breakdown]
        .sort((a, b) => b[1] - a[1])
        .map(([kind, part]) => `${kind} ${(100 * part).toFixed(0)} %`)
        .join(', ')} (profiler)`,
      `                ${operators
        .slice(0, 8)
        .map((o) => `${o.op} ${((100 * o.milliseconds) / whole).toFixed(0)} %`)
        .join(', ')}`,
      `peak memory     ${peakMemoryMiB.toFixed(0)} MiB (resident, whole process)`,
      '',
    ].join('\n'),
  );
await runtime.dispose();
