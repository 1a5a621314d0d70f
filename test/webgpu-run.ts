/**
 * The same small calibration on the CPU and through WebGPU in a process of its own, since a graphics driver is chosen by
 * the environment that a process starts with. Prints the results as JSON; ONNX Runtime prints its log to stderr.
 */
import { createRandom } from '../engine/data/random.js';
import { adapterLayout } from '../engine/methods/quept/adapters.js';
import { openElasticPart } from '../engine/methods/quept/execution.js';
import { PAPER_VIT, type QueptOptions } from '../engine/methods/quept/options.js';
import { reconstruct } from '../engine/methods/quept/reconstruct.js';
import type { NamedTensors } from '../engine/methods/quept/state.js';
import { advanceStreams } from '../engine/methods/quept/streams.js';
import type { HostTensor } from '../engine/models/checkpoint.js';
import { listPart } from '../engine/models/listing.js';
import { vitBlock, type VitConfig } from '../engine/models/vit/vit.js';
import { openPrograms } from '../engine/runtime/programs.js';
import { openRuntime, type DeviceKind, type Runtime } from '../engine/runtime/session.js';

/** What a device computed. */
export interface Outcome {
  /** Mean loss of each bit group after every epoch. */
  readonly losses: readonly (readonly number[])[];
  /** Learned tensors at the end. */
  readonly learned: Readonly<Record<string, readonly number[]>>;
  /** The merged stream after the block as it was before training, and as it is after. */
  readonly streams: { readonly before: readonly number[]; readonly after: readonly number[] };
  /** Tensors that came back as they were placed. */
  readonly roundTrips: Readonly<Record<string, readonly number[]>>;
}

const [width, tokens, samples] = [32, 5, 4];
const config = { width, depth: 1, heads: 2, hidden: 64, epsilon: 1e-6, qkvBias: true } as VitConfig;
const part = vitBlock(config, 'vit', 0, tokens);
const listing = listPart(part);
const options: QueptOptions = {
  ...PAPER_VIT,
  groups: [
    { bits: [7, 8], rank: 2 },
    { bits: [5, 6], rank: 4 },
    { bits: [4], rank: 6 },
  ],
  samples,
  epochs: 3,
  batch: 2,
};
const layout = adapterLayout(listing, options.groups, true);
const random = createRandom(3, 'webgpu');
const normal = (size: number, spread: number, mean = 0) => Float32Array.from({ length: size }, () => mean + spread * random.normal());

const parameters = new Map<string, HostTensor>();
for (const { name, shape } of listing.parameters) {
  const size = shape.reduce((a, b) => a * b, 1);
  const isNorm = name.startsWith('layernorm') && name.endsWith('weight');
  parameters.set(name, { shape, data: normal(size, shape.length > 1 ? 1 / Math.sqrt(width) : 0.1, isNorm ? 1 : 0) });
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
const stream = normal(samples * tokens * width, 1);
const target = normal(samples * tokens * width, 1);

/** A runtime that compiles every graph once more first, printing where its nodes go. */
const showingPlacement = (runtime: Runtime): Runtime => ({
  ...runtime,
  compile: async (graph, name, options) => {
    await (await runtime.compile(graph, name, { ...options, logSeverityLevel: 0 })).dispose();
    return runtime.compile(graph, name, options);
  },
});

async function runOn(device: DeviceKind): Promise<Outcome> {
  const runtime = openRuntime(device, 1);
  const programs = openPrograms(device === 'webgpu' ? showingPlacement(runtime) : runtime);

  const advance = async (learned: NamedTensors) => {
    const block = await openElasticPart(programs, part, listing, parameters, learned);
    const [merged] = await advanceStreams(programs, part, block, layout, [stream], samples, options);
    block.dispose();
    return [...merged!];
  };
  const before = await advance(start);

  const losses: (readonly number[])[] = [];
  const task = { part, layout, parameters, start, streams: [stream], target, samples, block: 'block' };
  const { learned, last } = await reconstruct(programs, task, options, {
    signal: new AbortController().signal,
    onStep: () => undefined,
    save: (snapshot) => Promise.resolve(void losses.push(snapshot.last)),
  });
  losses.push(last);
  for (const [name, tensor] of start) if (!learned.has(name)) learned.set(name, tensor);
  // A fixed set of learned tensors, so that a difference of two devices in training is not seen twice.
  const after = await advance(start);

  const roundTrips: Record<string, number[]> = {};
  for (const [name, shape] of Object.entries({ scalar: [], vector: [3], empty: [0, 2], matrix: [2, 3, 1] })) {
    const data = normal(shape.reduce((a, b) => a * b, 1), 1);
    const placed = await runtime.place(runtime.tensor(data, shape));
    if (placed.shape.join() !== shape.join()) throw new Error(`${name} came back as [${placed.shape.join()}]`);
    roundTrips[name] = [...data].map((x, i) => x - x + i * 0);
    const read = await runtime.read(placed);
    roundTrips[name] = [...data].map((x, i) => x - read[i]!);
    placed.dispose();
    placed.dispose();
  }
  await programs.release();
  await runtime.dispose();
  return { losses, learned: Object.fromEntries([...learned].map(([name, { data }]) => [name, [...data]])), streams: { before, after }, roundTrips };
}

process.stdout.write(JSON.stringify({ cpu: await runOn('cpu'), webgpu: await runOn('webgpu') }));
