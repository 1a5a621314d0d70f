/** The table of docs/EXPORT.md: what every format makes of sets of every method at every bit-width, from sets of small models. */
import { join } from 'node:path';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { openSampleCache, samplesIn } from '../engine/execution/sample-store.js';
import { normals } from '../engine/execution/testing.js';
import { onnxTables } from '../engine/exporters/onnx/onnx.js';
import { exporters } from '../engine/exporters/registry.js';
import { listExports } from '../engine/jobs/runs/list-exports.js';
import { calibrate } from '../engine/methods/calibrate.js';
import { resolveRequest } from '../engine/methods/request.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import { inputSize } from '../engine/models/model.js';
import type { ExportFormat } from '../engine/protocol/protocol.js';
import type { Programs } from '../engine/runtime/programs.js';
import { writeTokenizer } from './exports.js';
import { TINY_VIT, writeRandomModel } from './fixtures.js';

const BITS = [2, 3, 4, 5, 6, 7, 8];
/** As wide as blocks of 256 need; half of the layers' rows are longer. */
const TEXT = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  ...{ hidden_size: 256, num_hidden_layers: 1, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ intermediate_size: 512, max_position_embeddings: 16, vocab_size: 9 },
};

interface Row {
  readonly method: string;
  readonly mode?: 'weight-only' | 'weight-activation';
  readonly options?: Readonly<Record<string, unknown>>;
  /** Where the options say which. Default all. */
  readonly offered?: readonly number[];
}

const SPQR = { backend: 'spqr', averageBits: [3.4] };
const MODELS: readonly { title: string; config: object; tokens: boolean; rows: readonly Row[] }[] = [
  {
    ...{ title: 'Language models', config: TEXT, tokens: true },
    rows: [
      { method: 'direct', options: { effort: 'quick' } },
      { method: 'gptq' },
      { method: 'quept', options: { epochs: 1, batch: 2, rank: 1 } },
      { method: 'oac' },
      { method: 'oac', options: SPQR, offered: [3.4] },
      { method: 'oac', options: { backend: 'billm' }, offered: [1] },
      { method: 'adpq' },
      { method: 'sliderquant', options: { epochs: 2, fill: 2 } },
      { method: 'rounding' },
      { method: 'rounding', mode: 'weight-activation' },
    ],
  },
  {
    ...{ title: 'Picture classifiers', config: TINY_VIT, tokens: false },
    rows: [
      { method: 'quept', mode: 'weight-activation', options: { epochs: 1, batch: 2, rank: 1 } },
      { method: 'direct', mode: 'weight-activation', offered: [4, 5, 6, 7, 8] },
      { method: 'rounding' },
    ],
  },
];

/** Others hold layers as `onnx` does. */
const formats = exporters.filter((exporter) => 'holderOf' in exporter && !onnxTables.includes(exporter));

/** The part of the document from the first heading of a table on. */
export async function exportTables(programs: Programs, folder: string): Promise<string> {
  const reasons: string[] = [];
  const sections: string[] = [];
  for (const { title, config, tokens, rows } of MODELS) {
    const model = join(folder, title);
    await writeRandomModel(model, config as Readonly<Record<string, unknown>>);
    if (tokens) await writeTokenizer(model);
    const lines: string[] = [];
    for (const [i, row] of rows.entries()) {
      const adapters = `${model}-${i}`;
      await makeSet(programs, model, adapters, row);
      const found: ExportFormat[][] = [];
      const offered = row.offered ?? BITS;
      for (const bits of offered) found.push([...(await listExports({ model, adapters, bits }))]);
      const cells = formats.map(({ name }) =>
        cellOf(
          offered,
          found.map((list) => list.find((format) => format.name === name)!),
          reasons,
        ),
      );
      lines.push(`| ${nameOf(row)} | ${cells.join(' | ')} |`);
    }
    sections.push(
      `## ${title}`,
      [`| set | ${formats.map(({ name }) => `\`${name}\``).join(' | ')} |`, `| --- |${' --- |'.repeat(formats.length)}`, ...lines].join('\n'), // prettier-ignore
    );
  }
  return `${sections.join('\n\n')}\n\nRefused:\n\n${reasons.map((reason, i) => `${i + 1}. ${reason}`).join('\n')}\n`;
}

function nameOf({ method, mode, options = {} }: Row): string {
  const backend = 'backend' in options ? ` (\`${String(options.backend)}\`)` : '';
  return `\`${method}\`${backend}${mode === 'weight-activation' ? ', weights and activations' : ''}`;
}

/** Bit-widths with one verdict together. */
function cellOf(offered: readonly number[], found: readonly ExportFormat[], reasons: string[]): string {
  const verdicts = found.map((format) => verdictOf(format, reasons));
  const runs: { from: number; to: number; verdict: string }[] = [];
  verdicts.forEach((verdict, i) => {
    const last = runs.at(-1);
    if (last?.verdict === verdict) last.to = offered[i]!;
    else runs.push({ from: offered[i]!, to: offered[i]!, verdict });
  });
  return runs
    .map(({ from, to, verdict }) => `${from === to ? from : `${from}–${to}`}: ${verdict}`)
    .join('; ');
}

function verdictOf({ refusal, held = [] }: ExportFormat, reasons: string[]): string {
  if (refusal !== undefined) {
    const reason = refusal
      .replace(/"model\.[^"]*"/, '"…"')
      .replace(/steps from 0 to \d+/, 'more steps than its codes');
    if (!reasons.includes(reason)) reasons.push(reason);
    return `refused (${reasons.indexOf(reason) + 1})`;
  }
  const distances = held.flatMap(({ distance }) => distance ?? []);
  if (distances.length === 0) return 'exact';
  return `fitted, ≤ ${boundOf(100 * Math.max(...distances))} %`;
}

/** In percent; what is below is no more than the rounding of a few scales. */
const LEAST_BOUND = 0.01;

/** The next of 1, 2, 5, 10, …, which others' machines stay below too. */
function boundOf(distance: number): number {
  const value = Math.max(distance, LEAST_BOUND);
  const power = 10 ** Math.floor(Math.log10(value));
  return Number(([1, 2, 5, 10].find((step) => step * power >= value)! * power).toPrecision(1));
}

async function makeSet(
  programs: Programs,
  model: string,
  out: string,
  { method, mode = 'weight-only', options = {}, offered }: Row,
): Promise<void> {
  const checkpoint = await openCheckpoint(model);
  const asked = { model, method, mode, options, ...(!offered && { bits: BITS }) };
  const resolved = resolveRequest(checkpoint, asked);
  const { stem } = checkpoint.model;
  const samples = 3;
  const size = samples * inputSize(stem);
  const data =
    stem.inputType === 'int64'
      ? BigInt64Array.from({ length: size }, (_, i) => BigInt((i * 7 + 3) % 9))
      : normals([size], 'samples').data;
  const set = { inputs: samplesIn(data, samples), name: 'samples', fingerprint: '0'.repeat(64) };
  const given = {
    checkpoint,
    ...resolved,
    ...(resolved.settings.samples > 0 && { set }),
    out,
    resume: false,
    cache: await openSampleCache(Infinity),
    distance: meanDivergence,
    engineVersion: '0',
  };
  const hooks = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
  await calibrate(programs, given, hooks);
  await checkpoint.close();
}
