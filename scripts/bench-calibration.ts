/**
 * What a calibration by the direct method takes on random models of the LLaMA layout: time and arithmetic of each phase, per
 * weight that is quantized, beside large matrix products of the same device that take turns with it; and peak memory. Two
 * blocks are built and calibrated; the whole model is said by scaling. A block before these, on a quarter of the windows, is
 * not counted: sessions and machine code are made there, once for a whole model.
 * Usage: npm run bench:calibration [-- --sizes 0.1,1.1] [--effort quick] [--bits 8,6,4,3,2] [--windows 32] [--length 512]
 *        [--blocks 2] [--device cpu] [--threads N] [--json]
 * CPU seconds are of all threads, and say what the work takes on a machine that is busy otherwise; with more than one thread
 * they count threads that wait for others, too.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bytes, parseWidths, table } from '../engine/cli/format.js';
import { createRandom } from '../engine/data/random.js';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { openSampleCache, samplesIn } from '../engine/execution/sample-store.js';
import { Graph, sizeOf } from '../engine/graph/ir.js';
import * as op from '../engine/graph/ops.js';
import { matrixFlops } from '../engine/graph/work.js';
import { PHASES, type Phase, type PhaseEvent } from '../engine/methods/phases.js';
import { openProgress } from '../engine/methods/progress.js';
import { methodNamed } from '../engine/methods/registry.js';
import type { Checkpoint } from '../engine/models/checkpoint.js';
import { ModelConfig } from '../engine/models/config.js';
import { listPart, type PartListing } from '../engine/models/listing.js';
import { blocksOf, type Part } from '../engine/models/model.js';
import { buildModel } from '../engine/models/registry.js';
import { chooseDevice } from '../engine/runtime/devices.js';
import { openPrograms } from '../engine/runtime/programs.js';
import { openRuntime, type Program, type Runtime } from '../engine/runtime/session.js';
import { duration } from '../engine/time-left.js';

const { values: flags } = parseArgs({
  options: {
    sizes: { type: 'string', default: '0.1,1.1' },
    effort: { type: 'string', default: 'quick' },
    bits: { type: 'string', default: '8,6,4,3,2' },
    windows: { type: 'string', default: '32' },
    length: { type: 'string', default: '512' },
    blocks: { type: 'string', default: '2' },
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});

interface Size {
  readonly name: string;
  readonly blocks: number;
  readonly config: Readonly<Record<string, number>>;
}

/** Widths of two models that many know: SmolLM2-135M and TinyLlama-1.1B. */
const SIZES: Readonly<Record<string, Size>> = {
  '0.1': {
    name: '0.1 B',
    blocks: 30,
    config: { hidden_size: 576, num_attention_heads: 9, num_key_value_heads: 3, intermediate_size: 1536 },
  },
  '1.1': {
    name: '1.1 B',
    blocks: 22,
    config: { hidden_size: 2048, num_attention_heads: 32, num_key_value_heads: 4, intermediate_size: 5632 },
  },
};
const VOCABULARY = 256;
/** Side of the product that phases are measured beside, and the time between two of them, in seconds. */
const SQUARE = 1536;
const EVERY = 2;

interface Spent {
  readonly seconds: number;
  readonly cpu: number;
}
interface Measured extends Spent {
  /** Of matrix products, 2·m·n·k each. */
  readonly flops: number;
}

const spentSince = (start?: { readonly time: number; readonly cpu: NodeJS.CpuUsage }): Spent => {
  const { user, system } = process.cpuUsage(start?.cpu);
  return { seconds: (performance.now() - (start?.time ?? 0)) / 1000, cpu: (user + system) / 1e6 };
};
const now = () => ({ time: performance.now(), cpu: process.cpuUsage() });

/** Listens to phases, and counts in them what programs compute; every now and then a product takes its turn, in no phase. */
function openMeter(runtime: Runtime) {
  const phases = new Map<Phase | 'other', Measured>();
  const probes: Spent[] = [];
  let current: Phase | undefined;
  let start = now();
  let probed = 0;
  let probe: (() => Promise<void>) | undefined;
  const count = ({ seconds, cpu, flops }: Measured) => {
    const name = current ?? 'other';
    const before = phases.get(name) ?? { seconds: 0, cpu: 0, flops: 0 };
    phases.set(name, {
      seconds: before.seconds + seconds,
      cpu: before.cpu + cpu,
      flops: before.flops + flops,
    });
  };
  /** Counts the time since the last call. Asking for it takes longer than many a program, so that a run alone does not. */
  const lap = (flops = 0) => {
    count({ ...spentSince(start), flops });
    start = now();
  };
  PHASES.subscribe((event) => {
    const { phase, flops } = event as PhaseEvent;
    lap(flops);
    current = phase;
  });
  const product = async () => {
    const graph = new Graph();
    const y = op.matMul(graph.input('a', [SQUARE, SQUARE]), graph.input('b', [SQUARE, SQUARE]));
    graph.output('y', op.reduceMean(y, [0, 1]));
    const program = await runtime.compile(graph, 'matrix product');
    const random = createRandom(0, 'product');
    const a = await runtime.place(
      runtime.tensor(
        Float32Array.from({ length: SQUARE * SQUARE }, () => random.normal()),
        [SQUARE, SQUARE],
      ),
    );
    const run = async () => void (await runtime.read((await program.run({ a, b: a })).y!));
    await run();
    return async () => {
      const from = now();
      await run();
      probes.push(spentSince(from));
    };
  };
  return {
    phases,
    probes,
    /** The runtime, its programs' runs counted. */
    counted: {
      ...runtime,
      compile: async (graph: Graph, name: string, options) => {
        const flops = matrixFlops(graph);
        const program = await runtime.compile(graph, name, options);
        return {
          ...program,
          run: async (feeds, into) => {
            if (performance.now() - probed > EVERY * 1000 || probes.length === 0) {
              lap();
              probe ??= await product();
              await probe();
              start = now();
              probed = start.time;
            }
            count({ seconds: 0, cpu: 0, flops });
            return program.run(feeds, into);
          },
        } satisfies Program;
      },
    } satisfies Runtime,
    reset: () => {
      phases.clear();
      probes.length = 0;
      start = now();
    },
  };
}

/** A checkpoint whose weights are made when they are read, from one pool of random numbers. */
function randomCheckpoint({ name, config }: Size, blocks: number, tokens: number) {
  const model = buildModel(
    new ModelConfig(
      {
        ...config,
        model_type: 'llama',
        architectures: ['LlamaForCausalLM'],
        num_hidden_layers: blocks,
        vocab_size: VOCABULARY,
        max_position_embeddings: tokens,
      },
      'bench',
    ),
    { tokens },
  );
  const listings = new Map<string, PartListing>();
  const listing = (part: Part) => {
    if (!listings.has(part.kind)) listings.set(part.kind, listPart(part));
    return listings.get(part.kind)!;
  };
  const random = createRandom(0, 'weights');
  const pool = Float32Array.from({ length: 1_000_003 }, () => random.normal());
  const fill = (size: number, spread: number, center: number) => {
    const start = random.integer(pool.length);
    return Float32Array.from({ length: size }, (_, i) => center + spread * pool[(start + i) % pool.length]!);
  };
  return {
    name,
    model,
    listing,
    read: (part: Part) =>
      Promise.resolve(
        new Map(
          listing(part).parameters.map(({ name: own, shape }) => {
            const data =
              shape.length > 1
                ? fill(sizeOf(shape), 1 / Math.sqrt(shape.at(-1)!), 0)
                : fill(sizeOf(shape), 0.1, 1);
            return [own, { data, shape }] as const;
          }),
        ),
      ),
  } as Pick<Checkpoint, 'name' | 'model' | 'listing' | 'read'> as Checkpoint;
}

const device = await chooseDevice(flags.device as 'auto');
const runtime = openRuntime(device, Number(flags.threads ?? 0));
const meter = openMeter(runtime);
const programs = openPrograms(meter.counted);
const [windows, length, built] = [Number(flags.windows), Number(flags.length), Number(flags.blocks)];
const widths = parseWidths(flags.bits).sort((a, b) => b - a);
const { signal } = new AbortController();

async function measure(size: Size) {
  await calibrate(randomCheckpoint(size, 1, length), Math.ceil(windows / 4));
  const checkpoint = randomCheckpoint(size, built, length);
  meter.reset();
  const start = now();
  const settings = await calibrate(checkpoint, windows);
  const layers = blocksOf(checkpoint.model).flatMap((part) => checkpoint.listing(part).linears);
  const weights = layers.reduce((sum, layer) => sum + layer.in * layer.out, 0);
  const seconds = median(meter.probes.map((p) => p.seconds));
  const cpu = median(meter.probes.map((p) => p.cpu));
  const own = sumOf(meter.probes);
  const all = spentSince(start);
  return {
    size,
    weights,
    settings,
    /** Operations per second, and per CPU second. */
    product: {
      rate: (2 * SQUARE ** 3) / seconds,
      cpuRate: (2 * SQUARE ** 3) / cpu,
      count: meter.probes.length,
    },
    phases: [...meter.phases],
    seconds: all.seconds - own.seconds,
    cpu: all.cpu - own.cpu,
    flops: [...meter.phases.values()].reduce((sum, { flops }) => sum + flops, 0),
    peakMemory: process.resourceUsage().maxRSS * 1024,
  };
}

/** @returns what the method was set to */
async function calibrate(checkpoint: Checkpoint, samples: number) {
  const method = methodNamed('direct');
  const common = { mode: 'weight-only', bits: widths, samples } as const;
  const settings = method.settings(checkpoint, common, { effort: flags.effort });
  const random = createRandom(0, 'tokens');
  const ids = BigInt64Array.from({ length: samples * length }, () => BigInt(random.integer(VOCABULARY)));
  const set = { inputs: samplesIn(ids, samples), name: 'random tokens', fingerprint: '0' };
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
  const cache = await openSampleCache(Infinity);
  try {
    const progress = await openProgress(join(folder, 'set'), {}, false);
    const hooks = {
      signal,
      status: () => undefined,
      note: (line: string) => void process.stderr.write(`${line}\n`),
    };
    const distance = meanDivergence;
    await method.calibrate({ programs, checkpoint, set, cache, distance, progress, hooks }, settings);
  } finally {
    cache.close();
    await rm(folder, { recursive: true, force: true });
  }
  return settings;
}

const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[list.length >> 1]!;
const sumOf = (list: readonly Spent[]): Spent =>
  list.reduce((sum, { seconds, cpu }) => ({ seconds: sum.seconds + seconds, cpu: sum.cpu + cpu }), {
    seconds: 0,
    cpu: 0,
  });

type Result = Awaited<ReturnType<typeof measure>>;

function show({ size, weights, product, phases, seconds, cpu, flops, peakMemory }: Result): string {
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  const row = (name: string, own: Measured) => [
    name,
    (own.seconds / weights / 1e-9).toFixed(0),
    (own.cpu / weights / 1e-9).toFixed(0),
    percent(own.cpu / cpu),
    ...(own.flops === 0
      ? ['', '', '']
      : [
          (own.flops / weights / 1e3).toFixed(1),
          percent(own.flops / own.seconds / product.rate),
          percent(own.flops / own.cpu / product.cpuRate),
        ]),
  ];
  const { hidden_size, num_attention_heads, num_key_value_heads, intermediate_size } = size.config;
  const whole = (weights / built) * size.blocks;
  return [
    `model        ${size.name}: width ${hidden_size}, ${num_attention_heads} heads, ${num_key_value_heads} key heads, hidden ${intermediate_size}; ${built} of ${size.blocks} blocks, ${(weights / built / 1e6).toFixed(1)} M weights each`,
    `calibration  direct, ${flags.effort}, ${widths.join(', ')} bits; ${windows} windows of ${length} tokens`,
    `device       ${device}; products of ${SQUARE}×${SQUARE}×${SQUARE}, float32, between: ${(product.rate / 1e9).toFixed(1)} GFLOP/s, ${(product.cpuRate / 1e9).toFixed(1)} per CPU second (medians of ${product.count})`,
    '',
    table(
      ['phase', 'ns/weight', 'CPU ns', 'of all', 'kFLOP/weight', 'of product', 'by CPU time'],
      [...phases.map(([name, own]) => row(name, own)), row('all', { seconds, cpu, flops })],
    ),
    '',
    `time         ${duration((1e9 * seconds) / weights)} per billion weights, ${duration((1e9 * cpu) / weights)} of a processor; the whole model (${(whole / 1e9).toFixed(2)} G weights) ${duration((whole * seconds) / weights)}`,
    `arithmetic   ${(flops / weights / 1e6).toFixed(3)} MFLOP per weight in products (2·m·n·k each), counted as they ran`,
    `peak memory  ${bytes(peakMemory)} (resident, whole process)`,
    '',
    '',
  ].join('\n');
}

const results: Result[] = [];
for (const name of flags.sizes.split(',')) {
  const size = SIZES[name];
  if (!size) throw new Error(`--sizes: there are ${Object.keys(SIZES).join(' and ')}, not ${name}.`);
  const result = await measure(size);
  results.push(result);
  if (!flags.json) process.stdout.write(show(result));
}
if (flags.json) process.stdout.write(`${JSON.stringify({ device, results })}\n`);
await programs.release();
await runtime.dispose();
