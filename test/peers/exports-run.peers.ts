/** Every format at every bit-width that it takes of both samples, in what loads it: logits and perplexity beside the engine's. */
import { readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { encodeOnnxModel, readOnnxModel } from '../../engine/formats/onnx.js';
import { exporters } from '../../engine/exporters/registry.js';
import { listExports } from '../../engine/jobs/runs/list-exports.js';
import { exactly } from '../exports.js';
import { withLlama } from './llama-cpp.js';
import { expectAlike, isInstalled, peer } from './peer.js';
import {
  BITS,
  lossOf,
  openBench,
  probabilitiesOf,
  SAMPLES,
  type Answers,
  type Bench,
  sampleOf,
  setName,
  type Subject,
} from './samples.js';
import { floats, openReference, type Reference } from './suite.js';

let bench: Bench;
let reference: Reference<{ logits?: string; loss?: number; error?: string }>;
beforeAll(async () => {
  if (!isInstalled) return;
  bench = await openBench();
  reference = openReference('exports.py');
}, 300_000);
afterAll(async () => {
  if (!isInstalled) return;
  reference.close();
  await bench.close();
});

/** Of logits, where codes, zero points and scales go over and nothing else is rounded. */
const EXACT = 2e-4;
/** Of logits, where weights are fitted, or their reader rounds what enters products to 8 bits. */
const NEAR = 2e-3;
/** Of perplexity. */
const PERPLEXITY = 0.003;
/** Where a table of embeddings is in 4 bits: measured on the sample, 0.011 from 3 bits on and 0.019 at 2. */
const COARSE = { most: 0.025, share: 0.9, perplexity: 0.03 };

/** What loads a format, whether it rounds inputs of products, and whether it rounds more of a model than a set says, to few bits. */
const READERS: Readonly<
  Record<
    string,
    { readonly name: (bits: number) => string; readonly rounds?: boolean; readonly coarse?: boolean }
  >
> = {
  safetensors: { name: () => 'transformers' },
  'safetensors-f32': { name: () => 'transformers' },
  gguf: { name: () => 'llama.cpp', rounds: true },
  onnx: { name: () => 'onnx', rounds: true },
  'onnx-embedding8': { name: () => 'onnx', rounds: true },
  'onnx-embedding4': { name: () => 'onnx', rounds: true, coarse: true },
  // transformers 5.24 makes no place for packed zero points, which 4 and 8 bits need.
  'compressed-tensors': { name: (bits) => (bits === 4 || bits === 8 ? 'decompressed' : 'transformers') },
  gptq: { name: () => 'gptqmodel' },
  awq: { name: () => 'gptqmodel' },
};

/** What is refused, and nothing else is. */
const ACTIVATIONS = ['onnx', 'onnx-embedding8', 'onnx-embedding4', 'elastic'];
const REFUSED: Readonly<Record<Subject, (format: string, bits: number) => boolean>> = {
  'llama-speeches': (format, bits) => format === 'awq' && bits > 4,
  'vit-fashion': (format) =>
    ['gguf', 'gguf-types', 'gptq', 'awq', 'onnx-embedding8', 'onnx-embedding4'].includes(format),
  'llama-speeches, activations too': (format) => !ACTIVATIONS.includes(format),
  'vit-fashion, activations too': (format) => !['onnx', 'elastic'].includes(format),
};

for (const sample of Object.keys(REFUSED) as Subject[])
  describe(sample, () => {
    for (const { name: format } of exporters)
      for (const bits of format in READERS ? BITS : [])
        if (!REFUSED[sample](format, bits) && !redraws(sample, format))
          peer(`as ${format} at ${bits} bits computes what the set does`, () =>
            compare(sample, format, bits),
          );

    for (const bits of BITS)
      peer(`as ONNX at ${bits} bits without rounding of inputs computes just what the set does`, async () => {
        const file = await onnxFile(await bench.exported(sample, bits, 'onnx'));
        const path = join(dirname(file), 'exact.onnx');
        await writeFile(path, encodeOnnxModel(exactly(await readOnnxModel(file))));
        await expectAgreement(sample, bits, await asked(sample, 'onnx', path, 'onnx'), {
          most: exactFor(sample),
        });
      });

    peer('is refused by no other format', async () => {
      for (const bits of BITS)
        for (const { name, refusal, held } of await listed(sample, bits))
          if (held || refusal !== undefined)
            expect([name, bits, refusal !== undefined]).toEqual([name, bits, REFUSED[sample](name, bits)]);
    });
  });

/**
 * Where activations are on coarse grids, a table that is rounded decides anew what all of them are rounded to: as far from the set as
 * the set is from another of its kind.
 */
const redraws = (subject: Subject, format: string) =>
  subject !== sampleOf(subject) && format.startsWith('onnx-embedding');

const listed = (subject: Subject, bits: number) =>
  listExports({ model: join(SAMPLES, sampleOf(subject)), adapters: bench.at(setName(subject)), bits });

/** Where activations are rounded too, the last digits of sums decide some of them, and those all that follows. */
const exactFor = (subject: Subject) => (subject === sampleOf(subject) ? EXACT : NEAR);

async function compare(sample: Subject, format: string, bits: number): Promise<void> {
  const { held } = (await listed(sample, bits)).find(({ name }) => name === format)!;
  const { name, rounds = false, coarse = false } = READERS[format]!;
  const isExact = !rounds && held!.every(({ distance }) => distance === undefined);
  const out = await bench.exported(sample, bits, format);
  const reader = name(bits);
  const theirs =
    reader === 'llama.cpp'
      ? await inLlama(out)
      : await asked(sample, reader, reader === 'onnx' ? await onnxFile(out) : out, format);
  if (coarse) await expectAgreement(sample, bits, theirs, COARSE);
  else await expectAgreement(sample, bits, theirs, { most: isExact ? exactFor(sample) : NEAR });
}

async function onnxFile(folder: string): Promise<string> {
  const [name] = (await readdir(join(folder, 'onnx'))).filter((each) => /^model.*\.onnx$/.test(each));
  return join(folder, 'onnx', name!);
}

interface Theirs {
  readonly probabilities: readonly Float64Array[];
  readonly loss?: number;
}

async function asked(subject: Subject, reader: string, path: string, format: string): Promise<Theirs> {
  const sample = sampleOf(subject);
  const { path: inputs, shape, compared } = bench.inputs[sample];
  const answer = await reference.ask({ reader, path, format, inputs, shape, compared });
  if (answer.error !== undefined) throw new Error(answer.error);
  const rows = sample === 'vit-fashion' ? compared : compared * shape[0]!;
  const probabilities = probabilitiesOf(floats(answer.logits!), rows);
  return { probabilities, ...(answer.loss !== undefined && { loss: answer.loss }) };
}

const inLlama = (file: string): Promise<Theirs> =>
  withLlama(file, async (evaluate) => {
    const { compared } = bench.inputs['llama-speeches'];
    const kept: Float64Array[] = [];
    let loss = 0;
    for (const [i, ids] of bench.texts.entries()) {
      const rows = await evaluate(ids);
      if (i < compared) kept.push(...rows);
      loss += lossOf(rows, ids) / bench.texts.length;
    }
    return { probabilities: kept, loss };
  });

interface Bounds {
  readonly most: number;
  readonly share?: number;
  readonly perplexity?: number;
}

async function expectAgreement(
  sample: Subject,
  bits: number,
  { probabilities, loss }: Theirs,
  { most, share, perplexity = PERPLEXITY }: Bounds,
): Promise<void> {
  const own: Answers = await bench.ours(sample, bits);
  const line = expectAlike(own.logits, probabilities, most, share);
  const change = own.loss === undefined ? 0 : Math.exp(loss! - own.loss) - 1;
  const loses = own.loss === undefined ? '' : `, perplexity ${(100 * change).toFixed(3)} % off`;
  process.stderr.write(`${expect.getState().currentTestName}: ${line}${loses}\n`);
  expect(Math.abs(change)).toBeLessThanOrEqual(perplexity);
}
