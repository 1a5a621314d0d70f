/** Results as text for people. */
import { UserError } from '../errors.js';
import { MAX_BITS, MIN_BITS } from '../plans/bits.js';
import { formatBytes, errorDecimals } from '../plans/numbers.js';
import { visible } from '../plans/visible.js';
import { shellWord } from '../formats/shell.js';
import { duration } from '../time-left.js';
import type { Estimated, Forecast, ImportResult } from '../jobs/requests.js';
import type {
  CalibrateEstimate,
  DeviceReport,
  EvaluateResult,
  EvaluationRow,
  ExportFormat,
  ExportResult,
  ModelReport,
  Status,
} from '../protocol/protocol.js';

/** Columns aligned under a header; the first is left-aligned, the others right-aligned. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows].map((row) => row.map(visible));
  const lengths = header.map((_, c) => Math.max(...all.map((row) => row[c]!.length)));
  const line = (row: readonly string[]) =>
    row.map((cell, c) => (c === 0 ? cell.padEnd(lengths[c]!) : cell.padStart(lengths[c]!))).join('  ');
  return [line(header), lengths.map((w) => '─'.repeat(w)).join('  '), ...all.slice(1).map(line)].join('\n');
}

/** Such as `4.81 MB`, in English whatever the machine speaks. */
export const bytes = (count: number): string => formatBytes(count, 'en');

/** Bytes from text such as `4GB`, `512 MB` or `0`: powers of 1000, or of 1024 as in `4GiB`. */
export function parseBytes(text: string): number {
  const [, number, unit = '', binary] = /^\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?\s*$/i.exec(text) ?? [];
  if (number === undefined) throw new UserError(`"${text}" is not an amount of memory; write 4GB or 512MB.`);
  return Math.floor(Number(number) * (binary ? 1024 : 1000) ** ' kmgt'.indexOf(unit.toLowerCase() || ' '));
}

/** Bit-widths from text such as `4-8` or `1.08,2.3,8`: a range has its whole numbers. High to low, each once. */
export function parseWidths(text: string): number[] {
  const widths = text.split(',').flatMap((item) => {
    const [, one, from, to] = /^\s*(?:(\d+(?:\.\d+)?)|(\d+)\s*-\s*(\d+))\s*$/.exec(item) ?? [];
    const ends = [Number(one ?? from), Number(one ?? to)];
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    if (!(low >= MIN_BITS && high <= MAX_BITS))
      throw new UserError(
        `"${text}" is not a list of bit-widths; write 4-8 or 2.3,4, with widths from ${MIN_BITS} to ${MAX_BITS}.`,
      );
    return Array.from({ length: high - low + 1 }, (_, i) => low + i);
  });
  return [...new Set(widths)].sort((a, b) => b - a);
}

export function formatModels(models: readonly ModelReport[]): string {
  if (models.length === 0) return 'No checkpoints found.';
  const rows = models
    .filter((m) => m.supported)
    .map((m) => [
      m.path,
      m.family,
      String(m.blocks),
      String(m.layers),
      `${(m.parameters / 1e6).toFixed(1)} M`,
      bytes(m.bytes),
    ]);
  const warnings = models.flatMap((m) => (m.supported ? m.warnings.map(visible) : []));
  const others = models
    .filter((m) => !m.supported)
    .map((m) => visible(`${m.path}: not supported: ${m.reason}`));
  return [
    ...(rows.length > 0 ? [table(['model', 'family', 'blocks', 'layers', 'parameters', 'size'], rows)] : []),
    ...warnings,
    ...others,
  ].join('\n');
}

export const percentage = (share: number | undefined): string =>
  share === undefined ? '–' : (100 * share).toFixed(2);

/** A score times `unit` with two decimals, its error behind it with two digits, such as `38.67 ±0.0095`. */
export function withError(score: number | undefined, error: number | undefined, unit = 1): string {
  if (score === undefined) return '–';
  const written = (unit * score).toFixed(2);
  const decimals = errorDecimals(unit * (error ?? 0));
  return decimals === undefined ? written : `${written} ±${(unit * error!).toFixed(decimals)}`;
}

/** A difference times `unit` with its error, both to the error's second digit, `*` behind it where it is above two errors. */
export function difference(score: number | undefined, error: number | undefined, unit = 1): string {
  if (score === undefined) return '–';
  const [distance, chance] = [unit * score, unit * (error ?? 0)];
  const decimals = errorDecimals(chance);
  const written = `${distance > 0 ? '+' : ''}${distance.toFixed(decimals ?? 2)}`;
  if (decimals === undefined) return written;
  return `${written} ±${chance.toFixed(decimals)}${Math.abs(distance) > 2 * chance ? ' *' : '  '}`;
}

export const divergence = (nats: number | undefined): string => (nats === undefined ? '–' : nats.toFixed(5));

/** What is measured on an evaluation set, one column per score, and what its samples are. */
interface Measure {
  readonly scores: readonly string[];
  /** What the main score is multiplied by. */
  readonly unit: number;
  readonly samples: string;
  readonly cells: (row: EvaluationRow, full: EvaluationRow | undefined) => readonly string[];
}

const MEASURES: Readonly<Record<EvaluateResult['task'], Measure>> = {
  'image-classification': {
    scores: ['top-1 %', 'top-5 %', 'KL (nats)'],
    unit: 100,
    samples: 'pictures',
    cells: (row) => [
      withError(row.top1, row.scoreError, 100),
      percentage(row.top5),
      divergence(row.kind === 'full' ? undefined : row.kl),
    ],
  },
  perplexity: {
    scores: ['perplexity', 'against full', 'KL (nats)'],
    unit: 1,
    samples: 'windows',
    cells: ({ kind, perplexity, kl, scoreError }, full) => [
      withError(perplexity, scoreError),
      perplexity === undefined || full?.perplexity === undefined
        ? '–'
        : `${(100 * (perplexity / full.perplexity - 1)).toFixed(2)} %`,
      divergence(kind === 'full' ? undefined : kl),
    ],
  },
  'multiple-choice': {
    scores: ['accuracy %', 'normalised %'],
    unit: 100,
    samples: 'questions',
    cells: (row) => [withError(row.accuracy, row.scoreError, 100), percentage(row.accuracyNormalised)],
  },
};

export const ERROR_NOTE = '±: standard error of the distance from full precision.';
const DIFFERENCE_NOTE = '±: standard error of the difference; *: more than two of them, hardly chance.';

export function formatEvaluation({ task, rows }: Pick<EvaluateResult, 'task' | 'rows'>): string {
  const { scores, samples, cells } = MEASURES[task];
  const full = rows.find((row) => row.kind === 'full');
  const withRuntimes = rows.some(({ runtime }) => runtime !== undefined);
  const lines = rows.map((row) => [
    row.label,
    ...(withRuntimes ? [row.runtime ?? ''] : []),
    bitsOf(row),
    row.averageBits?.toFixed(2) ?? '–',
    bytes(row.bytes),
    ...cells(row, full),
    String(row.samples),
  ]);
  const header = [
    'model',
    ...(withRuntimes ? ['runtime'] : []),
    'bits',
    'per weight',
    'size',
    ...scores,
    samples,
  ];
  const printed = table(header, lines);
  const whole = rows.some((row) => row.scoreError !== undefined) ? `${printed}\n${ERROR_NOTE}` : printed;
  return [whole, formatDifferences({ task, rows })].filter(Boolean).join('\n\n');
}

const bitsOf = ({ bits }: EvaluationRow): string =>
  typeof bits === 'number' ? String(Number(bits.toFixed(3))) : bits;

/** A table for each row kind and label that others are held against, and what their signs mean; empty without any. */
export function formatDifferences({ task, rows }: Pick<EvaluateResult, 'task' | 'rows'>): string {
  const { scores, samples, unit } = MEASURES[task];
  const found = rows.flatMap((row) => (row.against ?? []).map((other) => ({ row, other })));
  const others = new Map(found.map(({ other }) => [`${other.kind} ${other.label}`, other]));
  const tables = [...others.values()].map((one) => {
    const own = found.filter(({ other }) => other.kind === one.kind && other.label === one.label);
    const withKl = own.some(({ other }) => other.kl !== undefined);
    const lines = own.map(({ row, other }) => [
      row.label,
      bitsOf(row),
      difference(other.score, other.scoreError, unit),
      ...(withKl ? [difference(other.kl, other.klError)] : []),
    ]);
    const header = ['model', 'bits', scores[0]!, ...(withKl ? ['KL (nats)'] : [])];
    return `Less ${visible(one.label)}, on the same ${samples}:\n${table(header, lines)}`;
  });
  return tables.length > 0 ? `${tables.join('\n\n')}\n${DIFFERENCE_NOTE}` : '';
}

/** Where a job is, and its newest figures: `block 3/12, epoch 2/20, relative loss at 7/8 bits 0.713, relative loss at 4 bits 0.618`. */
export const formatStatus = ({ phase, series = [] }: Pick<Status, 'phase' | 'series'>): string =>
  [phase, ...series.map(({ label, value }) => `${label} ${value.toPrecision(3)}`)].join(', ');

export function formatDevices(devices: readonly DeviceReport[]): string {
  return devices
    .map((d) =>
      d.available
        ? `${d.kind.padEnd(7)} ${d.name}: ${d.gflops.toPrecision(3)} GFLOP/s (matrix product, float32)`
        : `${d.kind.padEnd(7)} not available: ${d.reason}`,
    )
    .join('\n');
}

/** What a calibration will take. */
export const formatEstimate = ({ settings, ...forecast }: CalibrateEstimate): string =>
  `${formatForecast(forecast)}: the method "${settings.method}", ${settings.bits.join(', ')} bits${settings.samples > 0 ? `, ${settings.samples} samples` : ''}.`;

/** What work will take, without a full stop. */
export const formatForecast = ({ seconds, bytes: memory, disk, device }: Forecast): string =>
  `About ${duration(seconds)} on ${device}, with up to ${bytes(memory)} of memory${disk > 0 ? ` and ${bytes(disk)} on disk` : ''}`;

/** What each method and effort would take. */
export const formatEstimates = (all: readonly Estimated[]): string =>
  table(
    ['method', 'bits', 'samples', 'time', 'memory', 'disk'],
    all.map(({ method, effort, bits, samples, forecast }) => [
      effort === undefined ? method : `${method} --effort ${effort}`,
      bits.join(','),
      samples === 0 ? '–' : `${samples}`,
      duration(forecast.seconds),
      bytes(forecast.bytes),
      bytes(forecast.disk),
    ]),
  );

/** A call of the command line that can be pasted into a shell. */
export const commandLine = (...args: readonly string[]): string =>
  ['elastic-precision', ...args.map(shellWord)].join(' ');

/** What each export format would take, or why it refuses. */
export function formatExports(formats: readonly ExportFormat[]): string {
  const taking = formats.flatMap(({ name, size, held }) =>
    size ? [[name, `${size.isExact ? '' : 'at most '}${bytes(size.bytes)}`, formatHeld(held)]] : [],
  );
  const warnings = formats.flatMap(({ name, warning }) =>
    warning === undefined ? [] : [`${name}: ${warning}`],
  );
  const refused = formats.flatMap(({ name, refusal }) =>
    refusal === undefined ? [] : [`${name}: ${refusal}`],
  );
  return [table(['format', 'size', 'holds layers'], taking), ...[...warnings, ...refused].map(visible)].join(
    '\n',
  );
}

/** Whether layers are held as the set has them, else in what and how far off. */
function formatHeld(held: ExportFormat['held']): string {
  if (!held) return '';
  const fitted = held.filter(({ distance }) => distance !== undefined);
  if (fitted.length === 0) return 'exactly';
  const shares = fitted.map(
    ({ container, layers, distance }) => `${layers} in ${container} to ${formatDistance(distance!)}`,
  );
  const exact = held.reduce((sum, { layers, distance }) => (distance === undefined ? sum + layers : sum), 0);
  return `fitted: ${[...shares, ...(exact > 0 ? [`${exact} exactly`] : [])].join(', ')}`;
}

/** What was written, and of tensors that are held otherwise than the set says them, how. */
export function formatExported({
  out,
  format,
  bits,
  bytes: size,
  device,
  seconds,
  fits,
  serve,
}: ExportResult): string {
  const line = `Wrote ${out}: ${format}, ${bits === undefined ? 'all bit-widths' : `${Number(bits.toFixed(3))} bits per weight`}, ${bytes(size)}, on ${device}, in ${seconds.toFixed(0)} s.`;
  const lines = [visible(line), ...(serve === undefined ? [] : [`Run it: ${visible(serve)}`])].join('\n');
  if (!fits) return lines;
  const rows = fits.map(({ tensor, container, distance }) => [tensor, container, formatDistance(distance)]);
  return `${table(['tensor', 'held in', 'of its error'], rows)}\n${lines}`;
}

export function formatImported({ out, bytes: size, family, blocks, types }: ImportResult): string {
  return [
    visible(`Wrote ${out}: ${family}, ${blocks} blocks, ${bytes(size)}, of ${types.join(', ')}.`),
    `Calibrate it: ${commandLine('calibrate', out, '--data', 'DATA', '--out', 'SET')}`,
  ].join('\n');
}

/** A share of squared error, such as `0.14 %`. */
const formatDistance = (distance: number) =>
  distance < 5e-5 ? (distance === 0 ? '0 %' : '< 0.01 %') : `${(100 * distance).toFixed(2)} %`;
