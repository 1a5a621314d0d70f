/**
 * Elastic files: what each bit-width of them comes to beside the set that they were made of, and how large they are beside the
 * model at 8 bits; of the shapes of LLaMA-7B, how large they would be.
 * Usage: npm run bench:elastic [-- --llama SET,SET --vit SET,SET] [--limit 200] [--pictures 1000] [--threads N]
 * Default: both samples, calibrated by their usual method and by QuEPT with few epochs. Of sets with directions the file is also
 * made with codes that are rounded as it is opened, whatever it takes.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bytes, divergence, table } from '../engine/cli/format.js';
import { BASE_BITS } from '../engine/elastic/layout.js';
import type { QuantizedSource } from '../engine/execution/source.js';
import { elasticBytes, elasticExporter } from '../engine/exporters/elastic/elastic.js';
import { elasticPlan, type Rounding } from '../engine/exporters/elastic/plan.js';
import type { ExportContext } from '../engine/exporters/exporter.js';
import type { SetConfig } from '../engine/formats/set-config.js';
import { runJob } from '../engine/jobs/run.js';
import { runExport } from '../engine/jobs/runs/export.js';
import { ModelConfig } from '../engine/models/config.js';
import { listPart } from '../engine/models/listing.js';
import { blocksOf } from '../engine/models/model.js';
import { buildModel } from '../engine/models/registry.js';
import { quantizedBytes } from '../engine/quantized/size.js';
import type { EvaluationRow } from '../engine/protocol/protocol.js';

const { values: flags } = parseArgs({
  options: {
    llama: { type: 'string' },
    vit: { type: 'string' },
    limit: { type: 'string', default: '200' },
    pictures: { type: 'string', default: '1000' },
    threads: { type: 'string' },
  },
});
const samples = fileURLToPath(new URL('../samples', import.meta.url));
const common = {
  device: 'cpu' as const,
  ...(flags.threads !== undefined && { threads: Number(flags.threads) }),
};
const quiet = { signal: new AbortController().signal, note: () => undefined, status: () => undefined };
const print = (line: string) => void process.stdout.write(`${line}\n`);

const MODELS = [
  {
    model: join(samples, 'llama-speeches'),
    calibration: join(samples, 'data/speeches/calibration.txt'),
    evaluation: join(samples, 'data/speeches/evaluation.txt'),
    limit: Number(flags.limit),
    sets: flags.llama?.split(',').filter(Boolean),
  },
  {
    model: join(samples, 'vit-fashion'),
    calibration: join(samples, 'data/fashion-mnist/calibration-images-idx3-ubyte.gz'),
    evaluation: join(samples, 'data/fashion-mnist/evaluation-images-idx3-ubyte.gz'),
    limit: Number(flags.pictures),
    sets: flags.vit?.split(',').filter(Boolean),
  },
];

const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
try {
  for (const one of MODELS) {
    const name = basename(one.model);
    const given = flags.llama === undefined && flags.vit === undefined;
    const sets = one.sets ?? (given ? await calibrated(one.model, one.calibration) : []);
    for (const [i, set] of sets.entries()) await compare(one, set, join(folder, `${name}-${i}`));
  }
  print('Shapes of LLaMA-7B, 8 to 2 bits, groups of 128 columns at 4 bits and less:');
  const rows = [208, 112, 64, 48].map(async (rank) => {
    const { file, int8 } = await sizesOfSeven(rank);
    return [`${rank}`, bytes(file), bytes(int8), (file / int8).toFixed(3)];
  });
  print(table(['directions', 'elastic file', 'at 8 bits', 'ratio'], await Promise.all(rows)));
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function calibrated(model: string, data: string): Promise<string[]> {
  const usual = join(folder, `${basename(model)} usual`);
  const bits = [8, 7, 6, 5, 4, 3, 2];
  await runJob('calibrate', { ...common, model, data, out: usual, bits }, quiet);
  const quept = join(folder, `${basename(model)} quept`);
  const short = { method: 'quept', samples: 64, options: { epochs: 2 } };
  await runJob('calibrate', { ...common, ...short, model, data, out: quept, bits }, quiet);
  return [usual, quept];
}

async function compare({ model, evaluation, limit }: (typeof MODELS)[number], set: string, out: string) {
  const made: { readonly title: string; readonly path: string; readonly size: number }[] = [];
  const make = async (title: string, rounding: Rounding) => {
    const path = `${out} ${rounding}`;
    const request = { ...common, model, adapters: set, format: 'elastic', out: path };
    const { bytes: size } = await runExport(request, quiet, [elasticExporter(rounding)]);
    if (made.every((other) => other.size !== size)) made.push({ title, path, size });
  };
  await make('as exported', 'where smaller');
  await make('rounded as opened', 'always');
  const adapters = [set, ...made.map(({ path }) => path)];
  const { rows } = await runJob('evaluate', { ...common, model, adapters, data: evaluation, limit }, quiet);
  const of = (path: string) => rows.filter((row) => row.kind === 'adapters' && row.label === basename(path));
  const own = of(set);
  const eight = own.find(({ bits }) => bits === BASE_BITS)?.bytes;
  for (const { title, size } of made)
    print(
      `${basename(model)}, ${basename(set)}, ${title}: ${bytes(size)}${eight === undefined ? '' : `, ${(size / eight).toFixed(2)} × at 8 bits`}`,
    );
  const ratio = (a: EvaluationRow, b: EvaluationRow) => ((a.kl! / b.kl! - 1) * 100).toFixed(1);
  const header = ['bits', 'KL of the set', ...made.flatMap(({ title }) => [title, 'more by %'])];
  print(
    table(
      header,
      own.map((row) => [
        `${row.bits}`,
        divergence(row.kl),
        ...made.flatMap(({ path }) => {
          const other = of(path).find(({ bits }) => bits === row.bits)!;
          return [divergence(other.kl), ratio(other, row)];
        }),
      ]),
    ),
  );
}

/** Sizes of the shapes of LLaMA-7B with so many of QuEPT's directions. */
async function sizesOfSeven(rank: number): Promise<{ readonly file: number; readonly int8: number }> {
  const config = {
    ...{ model_type: 'llama', hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32 },
    ...{ num_attention_heads: 32, num_key_value_heads: 32, vocab_size: 32000, max_position_embeddings: 4096 },
    ...{ rms_norm_eps: 1e-5, hidden_act: 'silu', tie_word_embeddings: false },
  };
  const model = buildModel(new ModelConfig(config, 'config.json'));
  const linears = blocksOf(model).flatMap((part) =>
    listPart(part).linears.map((layer) => [part.prefix + layer.name, layer] as const),
  );
  const sizes = new Map(linears);
  const groupSizeAt = (bits: number) => (bits <= 4 ? 128 : -1);
  const source = {
    offered: [2, 3, 4, 5, 6, 7, 8],
    checkpoint: { model, listing: listPart },
    cache: undefined,
    fixedBits: () => undefined,
    form: (name: string, bits: number) => {
      const { in: columns, out } = sizes.get(name)!;
      return { kind: 'grid', in: columns, out, bits, groupSize: groupSizeAt(bits) } as const;
    },
    // Those of 2 bits are what a file holds.
    nearest: { rank, at: () => ({ rank, gain: 1 }) },
  };
  const layers = linears.map(([name, { in: columns, out, input }]) => {
    const prefix = name.slice(0, name.lastIndexOf('.', name.length) + 1);
    return [name, { in: columns, out, group_size: -1, input: prefix + input }] as const;
  });
  const set = {
    mode: 'weight-only',
    offered: [8, 7, 6, 5, 4, 3, 2],
    transforms: [],
    layers: Object.fromEntries(layers),
    method: { name: 'quept' },
  };
  const tensors = { get: () => ({ dtype: 'BF16' }) };
  const context = {
    original: { source: { tensors } },
    source: source as unknown as QuantizedSource,
    config: set as unknown as SetConfig,
  } as unknown as ExportContext;
  const file = elasticBytes(context, await elasticPlan(context, 'where smaller'));
  return { file, int8: quantizedBytes(context.source, BASE_BITS) };
}
