/** The command `export`: its options, and what of them is a verification afterwards. */
import { Option, type Command } from 'commander';
import type { Exporter } from '../exporters/exporter.js';
import { tensorTypes } from '../exporters/gguf/tensor-types.js';
import { exporters } from '../exporters/registry.js';
import type { EvaluateRequest, ExportRequest } from '../protocol/protocol.js';
import { device, json, modelArgument, threads, whole, width, yes } from './options.js';

export interface ExportOptions extends Omit<ExportRequest, 'model' | 'format' | 'out'> {
  readonly format?: string;
  readonly out?: string;
  readonly list?: boolean;
  /** What is scored on afterwards. */
  readonly verify?: string;
  readonly limit?: number;
  readonly json?: boolean;
  readonly yes?: boolean;
}

export const addExportOptions = (command: Command): Command =>
  command
    .addArgument(modelArgument())
    .requiredOption('--adapters <folder>', 'adapter set (required)')
    .addOption(
      new Option('--bits <n>', 'bits of every layer, one of those that the set has').argParser(width),
    )
    .addOption(new Option('--plan <file>', 'precision plan, instead of --bits').conflicts('bits'))
    .addOption(
      new Option('--format <name>', 'what is written: see below (required)').choices(
        exporters.map(({ name }) => name),
      ),
    )
    .option('--out <path>', 'what is written; it must not be there yet (required)')
    .addOption(
      new Option(
        '--tie',
        'layers that vLLM runs as one (queries, keys and values; gate and up) get the most bits of one of them',
      ),
    )
    .addOption(
      new Option('--verify <data>', 'then score what was written beside the set on this, as verify does'),
    )
    .addOption(
      new Option('--limit <n>', 'of --verify: only the first pictures or windows of text').argParser(
        whole(1),
      ),
    )
    .addOption(
      new Option(
        '--list',
        'say what each format would take and how it holds the layers, or why it refuses, and write nothing',
      ).conflicts(['format', 'out', 'verify']),
    )
    .addOption(yes())
    .addOption(device())
    .addOption(threads())
    .addOption(json())
    .addHelpText('after', ['', 'Formats:', ...exporters.map(formatLine)].join('\n'));

const formatLine = ({ name, words }: Exporter) => `  ${name.padEnd(18)}${words.description}`;

/** What is wrong with options of an export that are not wrong by themselves; undefined where nothing is. */
export function misused({ format, out, list, bits, plan, verify, limit }: ExportOptions): string | undefined {
  const holdsAll = exporters.some((exporter) => exporter.name === format && exporter.holdsAllBits);
  const isWhole = bits === undefined && plan === undefined;
  if (isWhole && !holdsAll)
    return "name the layers' bits, with either --bits or --plan; only an elastic file needs none";
  if (!list && (format === undefined || out === undefined))
    return 'name what is written, with --format and --out, or ask for --list';
  if (limit !== undefined && verify === undefined) return '--limit is of --verify <data>';
  if (verify !== undefined && format === tensorTypes.name) return `${format} holds no weights to verify`;
  if (verify !== undefined && isWhole) return 'name the bits to verify at, with either --bits or --plan';
  return undefined;
}

/** The verification of what was written to `out`. */
export function verification(
  model: string,
  out: string,
  { adapters, bits, plan, tie, verify, limit, device: on, threads: count }: ExportOptions,
): EvaluateRequest {
  const at = { ...(plan === undefined ? { bits: bits! } : { plan }), ...(tie && { tie }) };
  return {
    ...{ model, adapters: [adapters], data: verify!, exports: [{ path: out, ...at }] },
    ...(limit !== undefined && { limit }),
    ...(on !== undefined && { device: on }),
    ...(count !== undefined && { threads: count }),
  };
}
