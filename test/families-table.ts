/** The tables of docs/FAMILIES.md: what each family takes, found by asking for it, and how it is tested. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../engine/errors.js';
import { exporters } from '../engine/exporters/registry.js';
import type { AnyMethod } from '../engine/methods/method.js';
import { methods } from '../engine/methods/registry.js';
import { families } from '../engine/models/registry.js';
import type { Mode, Task } from '../engine/protocol/protocol.js';
import type { Programs } from '../engine/runtime/programs.js';
import type { Outline } from '../engine/transforms/transform.js';
import { makeRoundingSet, withExportContext, writeTokenizer } from './exports.js';
import { REFUSED } from './families-refused.js';
import { outlineOf, writeRandomModel } from './fixtures.js';
import { TINY } from './tiny.js';

const CASES = join(import.meta.dirname, 'families');

/** Checkpoints of the hub that people know, whose configurations fit. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  vit: ['google/vit-base-patch16-224', 'facebook/deit-small-patch16-224'],
  deit: ['facebook/deit-base-distilled-patch16-224'],
  beit: ['microsoft/beit-base-patch16-224'],
  swin: ['microsoft/swin-tiny-patch4-window7-224'],
  llama: ['HuggingFaceTB/SmolLM2-135M', 'TinyLlama/TinyLlama-1.1B-Chat-v1.0', 'meta-llama/Llama-3.2-1B'],
  mistral: ['mistralai/Mistral-7B-v0.3'],
  qwen2: ['Qwen/Qwen2.5-0.5B'],
  qwen3: ['Qwen/Qwen3-0.6B'],
  qwen3_moe: ['Qwen/Qwen3-30B-A3B'],
  mixtral: ['mistralai/Mixtral-8x7B-v0.1'],
  phi3: ['microsoft/Phi-3-mini-4k-instruct'],
  phi: ['microsoft/phi-2'],
  gemma: ['google/gemma-2b'],
  gemma2: ['google/gemma-2-2b'],
  gemma3_text: ['google/gemma-3-1b-it'],
  olmo2: ['allenai/OLMo-2-0425-1B'],
  smollm3: ['HuggingFaceTB/SmolLM3-3B'],
  granite: ['ibm-granite/granite-3.3-2b-base'],
  cohere: ['CohereLabs/aya-expanse-8b'],
  starcoder2: ['bigcode/starcoder2-3b'],
  gpt2: ['openai-community/gpt2'],
  gpt_neox: ['EleutherAI/pythia-410m'],
  opt: ['facebook/opt-125m'],
  bloom: ['bigscience/bloom-560m'],
  falcon: ['tiiuae/falcon-7b'],
};

/** The part of the document from the first heading of a table on. */
export async function familyTables(programs: Programs, folder: string): Promise<string> {
  const sections = new Map<string, string[]>();
  const cases = casesByType();
  for (const { modelType, architectures } of families) {
    const config = wide(TINY[modelType]!);
    const outline = outlineOf(modelType, config);
    const row = [
      `\`${modelType}\``,
      architectures.map((name) => `\`${name}\``).join(', '),
      (KNOWN[modelType] ?? []).join(', '),
      methodsOf(outline, 'weight-only'),
      methodsOf(outline, 'weight-activation'),
      await exportsOf(programs, join(folder, modelType), config),
      (cases.get(modelType) ?? []).join(', '),
    ];
    const title = TITLES[outline.model.task]!;
    sections.set(title, [...(sections.get(title) ?? []), `| ${row.join(' | ')} |`]);
  }
  const head = ['`model_type`', 'architectures', 'such as', 'weights alone', 'weights and activations', 'exports', 'beside the reference']; // prettier-ignore
  const tables = [...sections].map(([title, rows]) =>
    [`## ${title}\n`, `| ${head.join(' | ')} |`, `| ${head.map(() => '---').join(' | ')} |`, ...rows].join(
      '\n',
    ),
  );
  return `${[...tables, `## Not yet\n\n${refused()}`].join('\n\n')}\n`;
}

/** Sizes of layers as packed formats need them, whose words hold many codes. */
function wide(config: object): object {
  const sizes =
    /^(hidden_size|intermediate_size|moe_intermediate_size|head_dim|n_embd|n_inner|ffn_dim|word_embed_proj_dim|embed_dim)$/;
  const of = ([key, value]: [string, unknown]) => [key, sizes.test(key) ? 8 * (value as number) : value];
  return Object.fromEntries(Object.entries(config).map(of)) as object;
}

const TITLES: Readonly<Partial<Record<Task, string>>> = {
  'image-classification': 'Picture classifiers',
  'text-generation': 'Language models',
};

/** Methods that take a model with their usual settings. */
function methodsOf(outline: Outline, mode: Mode): string {
  const takes = (method: AnyMethod) => {
    if (!method.modes(outline).includes(mode)) return false;
    try {
      method.settings(outline, { mode }, {});
      return true;
    } catch (error) {
      if (error instanceof UserError) return false;
      throw error;
    }
  };
  return methods.filter(takes).map(({ name }) => name).join(', '); // prettier-ignore
}

/** Formats that take a set of weights alone, of 4 bits. */
async function exportsOf(programs: Programs, model: string, config: object): Promise<string> {
  await writeRandomModel(model, config as Readonly<Record<string, unknown>>);
  if ('vocab_size' in config) await writeTokenizer(model);
  const adapters = `${model}-set`;
  await makeRoundingSet(programs, model, adapters);
  return withExportContext(programs, model, adapters, 4, (context) => {
    const taking = exporters.filter((exporter) => exporter.refuse(context) === undefined);
    return Promise.resolve(taking.map(({ name }) => name).join(', '));
  });
}

/** Cases of `test/families`, by the `model_type` of their configuration. */
function casesByType(): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const name of cases()) {
    if (Object.hasOwn(REFUSED, name)) continue;
    const text = readFileSync(join(CASES, name, 'config.json'), 'utf8');
    const { model_type } = JSON.parse(text) as { readonly model_type: string };
    found.set(model_type, [...(found.get(model_type) ?? []), name]);
  }
  return found;
}

const cases = (): string[] =>
  readdirSync(CASES, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();

function refused(): string {
  const names = Object.keys(REFUSED).sort();
  return `Refused in one line, each with a case that says so: ${names.map((name) => `\`${name}\``).join(', ')}.`;
}
