/**
 * The same small calibration on the CPU and through WebGPU in a process of its own, since a graphics driver is chosen by
 * the environment that a process starts with. Prints the results as JSON; ONNX Runtime prints its log to stderr.
 */
import { createRandom } from '../engine/data/random.js';
import {
  everySample,
  openSampleCache,
  samplesIn,
  type SampleStore,
} from '../engine/execution/sample-store.js';
import { Graph, sizeOf } from '../engine/graph/ir.js';
import * as op from '../engine/graph/ops.js';
import { adapterLayout } from '../engine/methods/quept/adapters.js';
import { openPlainPart } from '../engine/execution/part.js';
import { openElasticPart } from '../engine/execution/quantized-part.js';
import { PAPER_VIT, settingsOf, type QueptOptions } from '../engine/methods/quept/options.js';
import { runSamples } from '../engine/execution/part-by-part.js';
import { reconstruct } from '../engine/methods/quept/reconstruct.js';
import type { NamedTensors } from '../engine/execution/tensors.js';
import { blockSource } from '../engine/methods/quept/source.js';
import { advanceStreams } from '../engine/methods/quept/streams.js';
import type { HostTensor } from '../engine/models/checkpoint.js';
import { listPart } from '../engine/models/listing.js';
import { vitBlock } from '../engine/models/vit/vit.js';
import { openPrograms } from '../engine/runtime/programs.js';
import { openRuntime, type Runtime } from '../engine/runtime/session.js';
import type { DeviceKind } from '../engine/protocol/protocol.js';

/** What a device computed. */
export interface Outcome {
  /** Mean loss of each bit group after every epoch. */
  readonly losses: readonly (readonly number[])[];
  /** Tensors at the start and as learned. */
  readonly start: Readonly<Record<string, readonly number[]>>;
  readonly learned: Readonly<Record<string, readonly number[]>>;
  /** The merged stream after the block, with the tensors of the start. */
  readonly merged: readonly number[];
  /** Results of the runtime's own operations, by name. */
  readonly runtime: Readonly<Record<string, readonly number[]>>;
}

const [features, tokens, samples] = [32, 5, 4];
const config = { features, heads: 2, hidden: 64, activation: op.gelu, epsilon: 1e-6, qkvBias: true };
const part = vitBlock(config, 'vit', 0, tokens);
const listing = listPart(part);
const options: QueptOptions = {
  ...PAPER_VIT,
  groups: [
    { bits: [7, 8], rank: 2, gain: 1 },
    { bits: [5, 6], rank: 4, gain: 1 },
    { bits: [4], rank: 6, gain: 1 },
  ],
  samples,
  epochs: 3,
  batch: 2,
};
const layout = adapterLayout(listing, options.groups, true);
const random = createRandom(3, 'webgpu');
const normal = (size: number, spread: number, mean = 0) =>
  Float32Array.from({ length: size }, () => mean + spread * random.normal());

const parameters = new Map<string, HostTensor>();
for (const { name, shape } of listing.parameters) {
  const size = shape.reduce((a, b) => a * b, 1);
  const isNorm = name.startsWith('layernorm') && name.endsWith('weight');
  parameters.set(name, {
    shape,
    data: normal(size, shape.length > 1 ? 1 / Math.sqrt(features) : 0.1, isNorm ? 1 : 0),
  });
}
const start: NamedTensors = new Map();
for (const { name, in: columns, out } of layout.layers) {
  start.set(`${name}.lora_A`, { shape: [layout.rank, columns], data: normal(layout.rank * columns, 0.05) });
  start.set(`${name}.lora_B`, { shape: [out, layout.rank], data: normal(out * layout.rank, 0.05) });
  for (let bits = 4; bits <= 8; bits++)
    for (const side of ['upper', 'lower'])
      start.set(`${name}.clip_${side}.${bits}`, { shape: [out, 1], data: normal(out, 0.2, 4) });
}
for (const name of layout.quantizers)
  for (let bits = 4; bits <= 8; bits++) {
    start.set(`${name}.act_scale.${bits}`, { shape: [1], data: Float32Array.of(6 / 2 ** bits) });
    start.set(`${name}.act_zero.${bits}`, { shape: [1], data: Float32Array.of(2 ** (bits - 1)) });
  }
const stream = normal(samples * tokens * features, 1);

/** A runtime that compiles every graph once more first, printing where its nodes go. */
const showingPlacement = (runtime: Runtime): Runtime => ({
  ...runtime,
  compile: async (graph, name, options) => {
    await (await runtime.compile(graph, name, { ...options, logSeverityLevel: 0 })).dispose();
    return runtime.compile(graph, name, options);
  },
});

async function calibrateOn(device: DeviceKind): Promise<Outcome> {
  const runtime = openRuntime(device, 1);
  const programs = openPrograms(showingPlacement(runtime));

  const plain = await openPlainPart(programs, part, parameters);
  const { signal } = new AbortController();
  const cache = await openSampleCache(Infinity);
  const [target, merged] = [0, 1].map(() => cache.store(samples, tokens * features)) as [
    SampleStore,
    SampleStore,
  ];
  const source = samplesIn(stream, samples);
  const { batch } = options;
  const run = { part, runnable: plain, source, batch };
  await runSamples(programs, run, everySample(source), target, { signal });
  plain.dispose();

  const calibrated = blockSource(parameters, settingsOf(options), part, start);
  const block = await openElasticPart(programs, part, listing, calibrated);
  merged.write(everySample(source), stream);
  await advanceStreams(
    programs,
    { part, elastic: block, layout },
    { streams: [merged] },
    { cache, options, signal },
  );
  block.dispose();

  const losses: (readonly number[])[] = [];
  const task = { part, layout, parameters, start, streams: [source], target, block: 'block' };
  const { learned, last } = await reconstruct(programs, task, options, {
    signal,
    onStep: () => undefined,
    save: (snapshot) => Promise.resolve(void losses.push(snapshot.last)),
  });
  losses.push(last);
  await programs.release();
  const contents = new Float32Array(samples * tokens * features);
  merged.read(everySample(merged), contents);
  const result = {
    losses,
    start: plainArrays(start),
    learned: plainArrays(learned),
    merged: [...contents],
    runtime: await exercise(runtime),
  };
  await runtime.dispose();
  return result;
}

const plainArrays = (tensors: NamedTensors) =>
  Object.fromEntries([...tensors].map(([name, { data }]) => [name, [...data]]));

/** Shapes and types that are placed and read, tensors shared by programs, and one that outlives its program. */
async function exercise(runtime: Runtime): Promise<Record<string, number[]>> {
  const found: Record<string, number[]> = {};
  const shapes = { scalar: [], vector: [3], empty: [0, 2], 'four axes': [1, 2, 3, 2] };
  for (const [name, shape] of Object.entries(shapes)) {
    const placed = await runtime.place(
      runtime.tensor(
        Float32Array.from({ length: sizeOf(shape) }, (_, i) => i + 0.5),
        shape,
      ),
    );
    if (placed.shape.join() !== shape.join())
      throw new Error(`The shape [${shape.join()}] became [${placed.shape.join()}].`);
    found[name] = [...(await runtime.read(placed))];
    placed.dispose();
    placed.dispose();
  }

  const graph = new Graph();
  const rows = graph.input('rows', [2], 'int64');
  const shown = graph.input('shown', [3, 1], 'bool');
  const x = graph.input('x', [3, 2]);
  graph.output('y', op.gather(op.where(shown, op.round(x), op.sign(x)), rows));
  graph.output('z', op.mul(x, x));
  const program = await runtime.compile(graph, 'types');
  const feeds = {
    rows: await runtime.place(runtime.tensor(BigInt64Array.of(2n, 0n), [2])),
    shown: await runtime.place(runtime.tensor(Uint8Array.of(1, 0, 1), [3, 1])),
    x: await runtime.place(runtime.tensor(Float32Array.of(0.5, -1.5, -3, 0, 2.5, 7.4999), [3, 2])),
  };
  const { y, z } = await program.run(feeds);
  const again = await program.run({ ...feeds, x: z! });
  await program.dispose();
  found.types = [...(await runtime.read(y!))];
  found.outlived = [...(await runtime.read(again.y!)), ...(await runtime.read(again.z!))];
  for (const tensor of [y!, z!, again.y!, again.z!, ...Object.values(feeds)]) tensor.dispose();
  return found;
}

process.stdout.write(JSON.stringify({ cpu: await calibrateOn('cpu'), webgpu: await calibrateOn('webgpu') }));
