/**
 * One calibration step of a ViT-S block and of a LLaMA-style block, each against a large matrix product on the same device,
 * interleaved with it, medians.
 * Usage: npm run bench [-- --json] [--device cpu|webgpu|cuda|auto] [--runs N] [--only vit|llama]
 */
import { parseArgs } from 'node:util';
import { matrixFlops } from '../engine/graph/work.js';
import { Graph, sizeOf, type Value } from '../engine/graph/ir.js';
import * as op from '../engine/graph/ops.js';
import { createRandom } from '../engine/data/random.js';
import { adapterLayout, type AdapterLayout } from '../engine/methods/quept/adapters.js';
import { bitGroups, groupSizesOf } from '../engine/methods/quept/options.js';
import { stepGraph } from '../engine/methods/quept/step.js';
import { ModelConfig } from '../engine/models/config.js';
import { listPart } from '../engine/models/listing.js';
import type { Part } from '../engine/models/model.js';
import { buildModel } from '../engine/models/registry.js';
import { profileGraph } from '../engine/runtime/profile.js';
import { chooseDevice } from '../engine/runtime/devices.js';
import { openRuntime, type Program, type Runtime, type Tensor } from '../engine/runtime/session.js';

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    device: { type: 'string', default: 'cpu' },
    runs: { type: 'string', default: '11' },
    only: { type: 'string' },
  },
});

interface Case {
  readonly key: string;
  readonly name: string;
  readonly detail: string;
  readonly part: Part;
  readonly layout: AdapterLayout;
  readonly batch: number;
}

const showGroups = ({ groups }: AdapterLayout) =>
  groups.map((g) => `{${g.bits.join()}} rank ${g.rank}`).join(' ');

function vitS(): Case {
  const config = {
    model_type: 'vit',
    architectures: ['ViTForImageClassification'],
    ...{ hidden_size: 384, num_attention_heads: 6, intermediate_size: 1536, num_hidden_layers: 1 },
  };
  const part = buildModel(new ModelConfig(config, 'bench')).blocks[0]!;
  const layout = adapterLayout(listPart(part), bitGroups([[7, 8], [5, 6], [4]], [16, 32, 48]), true);
  return {
    ...{ key: 'vit', part, layout, batch: 8 },
    name: 'ViT-S block, weights and activations',
    detail: `width 384, 6 heads, 197 tokens, batch 8, ${showGroups(layout)}`,
  };
}

function llama1B(): Case {
  const config = {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    ...{ hidden_size: 2048, num_attention_heads: 32, num_key_value_heads: 8, intermediate_size: 5632 },
    ...{ num_hidden_layers: 1, vocab_size: 32000, max_position_embeddings: 2048 },
  };
  const part = buildModel(new ModelConfig(config, 'bench'), { tokens: 512 }).blocks[0]!;
  const groups = bitGroups([[7, 8], [5, 6], [3, 4], [2]], [16, 32, 48, 64]);
  const sizes = groupSizesOf({ groups, groupSize: 128 });
  const layout = adapterLayout(listPart(part), groups, false, false, sizes);
  return {
    ...{ key: 'llama', part, layout, batch: 1 },
    name: 'LLaMA-style block, weights',
    detail: `width 2048, 32 heads, 8 key heads, hidden 5632, 512 tokens, batch 1, ${showGroups(layout)}, groups of 128 columns at 4 bits and below`,
  };
}

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
const runs = Number(flags.runs);

async function place(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  for (const [name, tensor] of Object.entries(feeds)) feeds[name] = await runtime.place(tensor);
  return feeds;
}

const square = new Graph();
const product = op.matMul(square.input('a', [SQUARE, SQUARE]), square.input('b', [SQUARE, SQUARE]));
square.output('y', op.reduceMean(product, [0, 1]));
const squareProgram = await runtime.compile(square, 'matrix product');
const squareFeeds = await place(feedsOf(square, runtime));

async function measure({ name, detail, part, layout, batch }: Case) {
  const step = stepGraph(part, layout, { batch, loss: 'mae', apart: 'none', ownStreams: false });
  const program = await runtime.compile(step, 'step');
  const feeds = await place(feedsOf(step, runtime));
  const times = { square: [] as number[], step: [] as number[] };
  for (let i = -2; i < runs; i++) {
    const squareTime = await milliseconds(squareProgram, squareFeeds, runtime, 'y');
    const stepTime = await milliseconds(program, feeds, runtime, 'next.losses');
    if (i < 0) continue;
    times.square.push(squareTime);
    times.step.push(stepTime);
  }
  await program.dispose();
  // Before profiling, which holds a second copy of the step.
  const peakMemoryMiB = process.resourceUsage().maxRSS / 1024;
  const operators = await profileGraph(runtime, step, feeds, Math.min(runs, 5));
  for (const tensor of Object.values(feeds)) tensor.dispose();

  const matmulGflops = matrixFlops(square) / 1e6 / median(times.square);
  const gflop = matrixFlops(step) / 1e9;
  const rate = (gflop / median(times.step)) * 1000;
  const whole = operators.reduce((sum, { milliseconds: time }) => sum + time, 0);
  const breakdown = new Map<string, number>();
  for (const { op: operator, milliseconds: time } of operators)
    breakdown.set(kindOf(operator), (breakdown.get(kindOf(operator)) ?? 0) + time / whole);
  return {
    ...{ name, detail, milliseconds: median(times.step), gflop, rate, matmulGflops, peakMemoryMiB },
    share: rate / matmulGflops,
    /** Of the fastest step in the rate of the fastest product: what a quiet machine would come to. */
    bestShare: (gflop * Math.min(...times.square)) / (Math.min(...times.step) * (matrixFlops(square) / 1e9)),
    breakdown: [...breakdown].sort((a, b) => b[1] - a[1]),
    operators: operators.map((o) => ({ ...o, share: o.milliseconds / whole })),
  };
}

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
const steps = [];
for (const make of [vitS, llama1B]) {
  const one = make();
  if (flags.only !== undefined && flags.only !== one.key) continue;
  const step = await measure(one);
  steps.push(step);
  if (flags.json) continue;
  process.stdout.write(
    [
      `step            ${step.name}: ${step.detail}`,
      `device          ${device}; its product of ${SQUARE}×${SQUARE}×${SQUARE}, float32: ${step.matmulGflops.toFixed(1)} GFLOP/s`,
      `arithmetic      ${step.gflop.toFixed(1)} GFLOP in matrix products (2·m·n·k each; element-wise work is not counted)`,
      `time            ${step.milliseconds.toFixed(0)} ms (medians of ${runs}, interleaved with the matrix product)`,
      `rate            ${step.rate.toFixed(1)} GFLOP/s, ${percent(step.share)} of the matrix product's; by the fastest of each ${percent(step.bestShare)}`,
      `where it goes   ${step.breakdown.map(([kind, share]) => `${kind} ${percent(share)}`).join(', ')} (profiler)`,
      `                ${step.operators
        .slice(0, 8)
        .map((o) => `${o.op} ${percent(o.share)}`)
        .join(', ')}`,
      `peak memory     ${step.peakMemoryMiB.toFixed(0)} MiB (resident, whole process)`,
      '',
      '',
    ].join('\n'),
  );
}
if (flags.json) process.stdout.write(`${JSON.stringify({ device, steps })}\n`);
await squareProgram.dispose();
await runtime.dispose();
