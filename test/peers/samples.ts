/** The samples with sets that round to nearest: what the engine makes of their data at some bits, and exports of them. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { layerNames } from '../../engine/execution/model.js';
import { openElasticModel, widthsOf } from '../../engine/execution/quantized-model.js';
import { openSampleCache } from '../../engine/execution/sample-store.js';
import { runExport } from '../../engine/jobs/runs/export.js';
import { openAdapterSet, openSource } from '../../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../../engine/models/checkpoint.js';
import type { ExportResult } from '../../engine/protocol/protocol.js';
import { openPrograms, type Programs } from '../../engine/runtime/programs.js';
import { openRuntime } from '../../engine/runtime/session.js';
import { taskOf } from '../../engine/tasks/registry.js';
import { makeRoundingSet, makeSmallSet } from '../exports.js';
import { temporaryFolder } from '../fixtures.js';

export const BITS = [2, 3, 4, 5, 6, 7, 8];
export const SAMPLES = join(import.meta.dirname, '../../samples');
export const SPEECHES = join(SAMPLES, 'llama-speeches');
const DATA = {
  'llama-speeches': 'data/speeches/evaluation.txt',
  'vit-fashion': 'data/fashion-mnist/evaluation-images-idx3-ubyte.gz',
};
export type SampleName = keyof typeof DATA;
/** A sample with a set that rounds its weights, or its weights and activations. */
export type Subject = SampleName | `${SampleName}, activations too`;
export const sampleOf = (subject: Subject) => subject.split(',')[0] as SampleName;

/** Windows of text whose perplexity is compared: a share of the evaluation text, or `PEERS_WINDOWS` of its 1,080. */
const WINDOWS = Number(process.env.PEERS_WINDOWS ?? 64);
/** Windows whose logits are compared, and pictures. */
const COMPARED = { 'llama-speeches': 8, 'vit-fashion': 256 };
/** Windows, or pictures, that go through a model at once. */
const AT_ONCE = 8;

/** What a model makes of a sample's data. */
export interface Answers {
  /** [rows, classes] of the first texts or pictures. */
  readonly logits: Float32Array;
  readonly rows: number;
  /** Mean loss of the next token over all windows, of texts. */
  readonly loss?: number;
}

export interface Bench {
  readonly programs: Programs;
  at(...names: string[]): string;
  /** The file of inputs, int64 or float32, the shape of one of them, and how many have their logits compared. */
  readonly inputs: Readonly<Record<SampleName, { path: string; shape: readonly number[]; compared: number }>>;
  readonly texts: readonly (readonly number[])[];
  ours(subject: Subject, bits: number): Promise<Answers>;
  /** Logits of one text [length, vocabulary]. */
  logitsOf(bits: number, ids: readonly number[]): Promise<Float32Array>;
  /** What was written before is not written again. */
  exported(subject: Subject, bits: number, format: string): Promise<string>;
  exportedResult(subject: Subject, bits: number, format: string): Promise<ExportResult>;
  close(): Promise<void>;
}

/** Of a subject's set in the bench's folder. */
export const setName = (subject: Subject) => `${subject.replace(', activations too', '-activations')}-set`;

export async function openBench(): Promise<Bench> {
  const { folder, cleanUp } = await temporaryFolder();
  const runtime = openRuntime('cpu', 1);
  const programs = openPrograms(runtime);
  const at = (...names: string[]) => join(folder, ...names);
  const modelOf = (sample: SampleName) => join(SAMPLES, sample);
  const results = new Map<string, ExportResult>();
  const answers = new Map<string, Answers>();
  const values = new Map<SampleName, Float32Array | BigInt64Array>();

  const prepare = async (sample: SampleName) => {
    await makeRoundingSet(programs, modelOf(sample), at(setName(sample)));
    const checkpoint = await openCheckpoint(modelOf(sample));
    const samples = sample === 'vit-fashion' ? COMPARED[sample] : WINDOWS;
    const drawn = { samples, first: true, seed: 0, batch: AT_ONCE };
    const cache = await openSampleCache(Infinity);
    const { set } = await taskOf(checkpoint).read(
      checkpoint,
      join(SAMPLES, DATA[sample]),
      drawn,
      cache,
      new AbortController().signal,
    );
    const both = { method: 'rounding', mode: 'weight-activation', bits: BITS } as const;
    await makeSmallSet(programs, modelOf(sample), at(setName(`${sample}, activations too`)), both, {}, set);
    const shape = checkpoint.model.stem.inputShape(1).slice(1);
    const size = samples * shape.reduce((a, b) => a * b, 1);
    const read = sample === 'vit-fashion' ? new Float32Array(size) : new BigInt64Array(size);
    set.inputs.read([...Array(samples).keys()], read as never);
    values.set(sample, read);
    await writeFile(at(`${sample}.inputs`), new Uint8Array(values.get(sample)!.buffer));
    await checkpoint.close();
    return { path: at(`${sample}.inputs`), shape, compared: COMPARED[sample] };
  };
  const inputs = {
    'llama-speeches': await prepare('llama-speeches'),
    'vit-fashion': await prepare('vit-fashion'),
  };
  const [length] = inputs['llama-speeches'].shape as [number];
  const ids = [...(values.get('llama-speeches') as BigInt64Array)].map(Number);
  const texts = Array.from({ length: WINDOWS }, (_, i) => ids.slice(i * length, (i + 1) * length));

  return {
    programs,
    at,
    inputs,
    texts,
    ours: async (subject, bits) => {
      const key = `${subject} ${bits}`;
      const found = answers.get(key) ?? (await run(subject, bits));
      answers.set(key, found);
      return found;
    },
    logitsOf: (bits, text) =>
      withModel('llama-speeches', bits, async (logitsFor) =>
        (await logitsFor(BigInt64Array.from(text, BigInt), [1, text.length])).slice(),
      ),
    exported: async (subject, bits, format) => (await exportedResult(subject, bits, format)).out,
    exportedResult,
    close: async () => {
      await programs.release();
      await runtime.dispose();
      await cleanUp();
    },
  };

  async function exportedResult(subject: Subject, bits: number, format: string): Promise<ExportResult> {
    const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
    const out = at(`${setName(subject)}-${bits}-${format}${format === 'gguf' ? '.gguf' : ''}`);
    const known = results.get(out);
    if (known) return known;
    const request = { model: modelOf(sampleOf(subject)), adapters: at(setName(subject)), bits, format, out };
    const result = await runExport({ ...request, device: 'cpu', threads: 1 }, quiet);
    results.set(out, result);
    return result;
  }

  async function run(subject: Subject, bits: number): Promise<Answers> {
    const sample = sampleOf(subject);
    const { shape, compared } = inputs[sample];
    const all = values.get(sample)!;
    const size = shape.reduce((a, b) => a * b, 1);
    const kept: Float32Array[] = [];
    const losses: number[] = [];
    await withModel(subject, bits, async (logitsFor) => {
      for (let start = 0; start * size < all.length; start += AT_ONCE) {
        const part = all.slice(start * size, (start + AT_ONCE) * size);
        const logits = await logitsFor(part, [part.length / size, ...shape]);
        if (start < compared) kept.push(logits.slice());
        if (part instanceof BigInt64Array)
          for (let i = 0; i * size < part.length; i++)
            losses.push(
              lossOf(
                probabilitiesOf(
                  logits.slice(
                    (i * logits.length * size) / part.length,
                    ((i + 1) * logits.length * size) / part.length,
                  ),
                  size,
                ),
                texts[start + i]!,
              ),
            );
      }
    });
    const logits = Float32Array.from(kept.flatMap((one) => [...one]));
    const rows = sample === 'vit-fashion' ? compared : compared * size;
    const loss = losses.reduce((a, b) => a + b, 0) / losses.length;
    return { logits, rows, ...(losses.length > 0 && { loss }) };
  }

  async function withModel<T>(
    subject: Subject,
    bits: number,
    use: (
      logitsFor: (data: Float32Array | BigInt64Array, shape: readonly number[]) => Promise<Float32Array>,
    ) => Promise<T>,
  ): Promise<T> {
    const checkpoint: Checkpoint = await openCheckpoint(modelOf(sampleOf(subject)));
    const set = await openAdapterSet(at(setName(subject)));
    const model = await openElasticModel(programs, openSource(programs, checkpoint, set));
    const names = layerNames(checkpoint);
    await model.use(
      widthsOf(
        names,
        names.map(() => bits),
      ),
    );
    try {
      return await use(async (data, shape) => {
        const input = runtime.tensor(data, shape);
        const logits = await model.run(input, shape[0]!);
        input.dispose();
        return logits;
      });
    } finally {
      model.dispose();
      await set.close();
      await checkpoint.close();
    }
  }
}

/** Rows of probabilities. */
export const probabilitiesOf = (logits: Float32Array, rows: number): Float64Array[] =>
  Array.from({ length: rows }, (_, i) =>
    softmax(logits.subarray((i * logits.length) / rows, ((i + 1) * logits.length) / rows)),
  );

export function softmax(logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}

/** Mean loss of every token of a text but the first. */
export const lossOf = (rows: readonly Float64Array[], ids: readonly number[]): number =>
  ids.slice(1).reduce((sum, id, i) => sum - Math.log(rows[i]![id]!), 0) / (ids.length - 1);
