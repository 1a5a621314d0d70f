/**
 * How fast a text goes on, in tokens per processor second, on a random model of the LLaMA layout (96 M parameters): the model that a
 * session opens, in full precision and at some bit-widths, and llama.cpp on the same weights in float32, in turns. Both continue a
 * prompt greedily on one thread, and the tokens that they come to are compared.
 * Usage: npm run bench:generation [-- --prompt 128] [--tokens 64] [--rounds 3] [--bits 8,4] [--json]
 * llama.cpp is the one that `verify` uses (docs/COMMANDS.md), or lies where ELASTIC_PRECISION_LLAMA_CPP says, such as in `node/` of
 * what `npm run test:peers` installs; without it nothing stands beside ours.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { bytes, parseWidths, table } from '../engine/cli/format.js';
import { createRandom } from '../engine/data/random.js';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { openPlainModel, type RunnableModel } from '../engine/execution/model.js';
import { openElasticModel } from '../engine/execution/quantized-model.js';
import { openSampleCache } from '../engine/execution/sample-store.js';
import type { ExportContext } from '../engine/exporters/exporter.js';
import { ggufPieces } from '../engine/exporters/gguf/file.js';
import { layoutsOf, metadataOf, tensorReader } from '../engine/exporters/gguf/gguf.js';
import { F32 } from '../engine/exporters/gguf/weights.js';
import { makeFileAtomic } from '../engine/formats/atomic.js';
import { writeSafetensors } from '../engine/formats/safetensors-write.js';
import { sizeOf } from '../engine/graph/ir.js';
import { calibrate } from '../engine/methods/calibrate.js';
import { resolveRequest } from '../engine/methods/request.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { ModelConfig } from '../engine/models/config.js';
import { listPart } from '../engine/models/listing.js';
import { partsOf } from '../engine/models/model.js';
import { buildModel } from '../engine/models/registry.js';
import type { Programs } from '../engine/runtime/programs.js';
import { withDevice } from '../engine/runtime/with-device.js';
import { findLlama } from '../engine/verification/library.js';

const { values: flags } = parseArgs({
  options: {
    prompt: { type: 'string', default: '128' },
    tokens: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '3' },
    bits: { type: 'string', default: '8,4' },
    json: { type: 'boolean', default: false },
  },
});
const [promptLength, count, rounds] = [flags.prompt, flags.tokens, flags.rounds].map(Number) as [
  number,
  number,
  number,
];
const widths = parseWidths(flags.bits);

const CONFIG = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 768,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  num_key_value_heads: 4,
  intermediate_size: 2048,
  vocab_size: 26_624,
  max_position_embeddings: promptLength + count,
  tie_word_embeddings: true,
};

/** Tokens, and processor seconds that they took. */
interface Spent {
  readonly tokens: number;
  readonly cpu: number;
}
/** One continuation. */
interface Answer {
  readonly prompt: Spent;
  readonly added: Spent;
  readonly ids: readonly number[];
}
interface Runner {
  readonly name: string;
  answer(prompt: readonly number[]): Promise<Answer>;
  close(): Promise<void>;
}

const cpuSince = (start: NodeJS.CpuUsage) => {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e6;
};
const best = (logits: Float32Array) => {
  let found = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[found]!) found = i;
  return found;
};

/** A random checkpoint, and a tokenizer, without which no file for llama.cpp is whole. */
async function writeModel(folder: string): Promise<void> {
  await mkdir(folder);
  await writeFile(join(folder, 'config.json'), JSON.stringify(CONFIG));
  const random = createRandom(0, 'model');
  // Weights are pieces of one pool: as many random numbers as a model has would take longer than all that is measured.
  const pool = Float32Array.from({ length: 1_000_003 }, () => random.normal());
  const fill = (size: number, spread: number, center: number) => () => {
    const start = random.integer(pool.length);
    return Float32Array.from({ length: size }, (_, i) => center + spread * pool[(start + i) % pool.length]!);
  };
  const model = buildModel(new ModelConfig(CONFIG, 'config.json'));
  const tensors = partsOf(model).flatMap((part) =>
    listPart(part)
      .parameters.filter(({ storedName }) => storedName === undefined)
      .map(({ name, shape }) => ({
        name: part.prefix + name,
        dtype: 'F32' as const,
        shape,
        data:
          shape.length > 1 ? fill(sizeOf(shape), 1 / Math.sqrt(shape[1]!), 0) : fill(sizeOf(shape), 0.1, 1),
      })),
  );
  await writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
  const letters = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));
  const vocab = Object.fromEntries(['<s>', ...letters].map((token, id) => [token, id]));
  const tokenizer = {
    added_tokens: [{ id: 0, content: '<s>', special: true }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    model: { type: 'BPE', vocab, merges: [] },
  };
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>' }));
}

/** The model as GGUF, every tensor in float32. */
async function writeGguf(programs: Programs, original: Checkpoint, out: string): Promise<void> {
  const context = {
    programs,
    original,
    source: { checkpoint: original, fixedBits: () => undefined },
    bitsOf: () => undefined,
  } as unknown as ExportContext;
  const tensors = layoutsOf(context).map((layout) => ({ ...layout, type: F32 }));
  const read = tensorReader(context);
  const entries = tensors.map((layout) => ({ ...layout, data: () => read(layout) }));
  await makeFileAtomic(out, ggufPieces(await metadataOf(context, tensors), entries));
}

async function writeSet(programs: Programs, checkpoint: Checkpoint, out: string): Promise<void> {
  const request = {
    model: checkpoint.folder,
    method: 'rounding',
    mode: 'weight-only',
    bits: widths,
  } as const;
  const cache = await openSampleCache(Infinity);
  const hooks = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
  const common = { resume: false, distance: meanDivergence, engineVersion: '0' };
  await calibrate(
    programs,
    { checkpoint, ...resolveRequest(checkpoint, request), out, cache, ...common },
    hooks,
  );
  cache.close();
}

function ourRunner(name: string, model: RunnableModel, before: () => Promise<unknown>): Runner {
  const generation = model.generation()!;
  return {
    name,
    answer: async (prompt) => {
      await before();
      const start = process.cpuUsage();
      const ids = [best(await generation.begin(prompt))];
      const read = { tokens: prompt.length, cpu: cpuSince(start) };
      const started = process.cpuUsage();
      while (ids.length <= count) ids.push(best(await generation.follow(ids.at(-1)!)));
      return { prompt: read, added: { tokens: count, cpu: cpuSince(started) }, ids };
    },
    close: () => Promise.resolve(),
  };
}

/** What is used of node-llama-cpp. */
interface Library {
  getLlama(
    this: void,
    options: object,
  ): Promise<{
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): Sequence }>;
      dispose(): Promise<void>;
    }>;
  }>;
}
interface Sequence {
  evaluate(tokens: readonly number[], options: object): AsyncGenerator<number>;
  clearHistory(): Promise<void>;
}

async function llamaRunner(folder: string, file: string): Promise<Runner> {
  const entry = pathToFileURL(join(folder, 'dist', 'index.js')).href;
  const { getLlama } = (await import(entry)) as Library;
  const options = { gpu: false, build: 'never', logLevel: 'error', skipDownload: true, maxThreads: 1 };
  const llama = await getLlama({ ...options, progressLogs: false });
  const model = await llama.loadModel({ modelPath: file });
  const size = CONFIG.max_position_embeddings + 1;
  const context = await model.createContext({ contextSize: size, threads: 1 });
  const sequence = context.getSequence();
  return {
    name: 'llama.cpp, float32',
    answer: async (prompt) => {
      await sequence.clearHistory();
      const start = process.cpuUsage();
      const tokens = sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true });
      const next = async () => (await tokens.next()).value as number;
      const ids = [await next()];
      const read = { tokens: prompt.length, cpu: cpuSince(start) };
      const started = process.cpuUsage();
      while (ids.length <= count) ids.push(await next());
      const added = { tokens: count, cpu: cpuSince(started) };
      await tokens.return(undefined);
      return { prompt: read, added, ids };
    },
    close: () => model.dispose(),
  };
}

const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[list.length >> 1]!;
const rate = ({ tokens, cpu }: Spent) => tokens / cpu;

interface Row {
  readonly name: string;
  /** Tokens per processor second. */
  readonly prompt: number;
  readonly added: number;
  /** Of the tokens, how many at the beginning are those of the first row. */
  readonly same: number;
}

/** All in turns, a continuation each; one before those that count compiles and warms. */
async function compare(runners: readonly Runner[]): Promise<Row[]> {
  const random = createRandom(0, 'prompt');
  const prompt = Array.from({ length: promptLength }, () => random.integer(CONFIG.vocab_size));
  const answers = new Map<Runner, Answer[]>(runners.map((runner) => [runner, []]));
  for (const runner of runners) await runner.answer(prompt);
  for (let round = 0; round < rounds; round++)
    for (const runner of runners) answers.get(runner)!.push(await runner.answer(prompt));
  const reference = answers.get(runners[0]!)![0]!.ids;
  return runners.map((runner) => {
    const own = answers.get(runner)!;
    const differs = own[0]!.ids.findIndex((id, i) => id !== reference[i]);
    return {
      name: runner.name,
      prompt: median(own.map((answer) => rate(answer.prompt))),
      added: median(own.map((answer) => rate(answer.added))),
      same: differs === -1 ? reference.length : differs,
    };
  });
}

async function measure(folder: string): Promise<{ readonly rows: Row[]; readonly parameters: number }> {
  const [path, set, file] = ['model', 'set', 'model.gguf'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await writeModel(path);
  const library = await findLlama();
  return withDevice({ device: 'cpu', threads: 1 }, async (programs) => {
    const checkpoint = await openCheckpoint(path);
    const full = await openPlainModel(programs, checkpoint, { oneByOne: true });
    await writeSet(programs, checkpoint, set);
    const opened = await openAdapterSet(set);
    const elastic = await openElasticModel(programs, openSource(programs, checkpoint, opened), 0, {
      oneByOne: true,
    });
    const runners = [
      ourRunner('full precision', full, () => Promise.resolve()),
      ...widths.map((bits) => ourRunner(`${bits} bits`, elastic, () => elastic.use(bits))),
    ];
    if (library) {
      await writeGguf(programs, checkpoint, file);
      runners.push(await llamaRunner(library.folder, file));
    }
    const rows = await compare(runners);
    for (const runner of runners) await runner.close();
    full.dispose();
    elastic.dispose();
    await opened.close();
    await checkpoint.close();
    return { rows, parameters: checkpoint.parameters };
  });
}

const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
try {
  const { rows, parameters } = await measure(folder);
  const peer = rows.find(({ name }) => name.startsWith('llama.cpp'));
  const of = (row: Row, key: 'prompt' | 'added') => (peer ? (row[key] / peer[key]).toFixed(2) : '–');
  process.stdout.write(
    flags.json
      ? `${JSON.stringify({ parameters, prompt: promptLength, tokens: count, rows })}\n`
      : [
          `A random model of ${(parameters / 1e6).toFixed(1)} M parameters, one thread: a prompt of ${promptLength} tokens and ${count} that follow, medians of ${rounds}, tokens per processor second.`,
          '',
          table(
            ['model', 'prompt', 'of llama.cpp', 'generation', 'of llama.cpp', 'tokens as the first'],
            rows.map((row) => [
              row.name,
              row.prompt.toFixed(0),
              of(row, 'prompt'),
              row.added.toFixed(1),
              of(row, 'added'),
              `${row.same} of ${count + 1}`,
            ]),
          ),
          '',
          `peak memory ${bytes(process.resourceUsage().maxRSS * 1024)} (all of them together)`,
          '',
        ].join('\n'),
  );
} finally {
  await rm(folder, { recursive: true, force: true });
}
