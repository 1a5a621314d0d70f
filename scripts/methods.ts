/**
 * Calibration methods beside each other on a language model, by default the sample: divergence at every bit-width over
 * several calibration sets, average bits per weight, differences in pairs, and what each took in the same run.
 * Usage: npm run demo:methods, every method beside the others at about as many average bits; npm run bench:methods [-- --methods rounding,gptq,awq,quept,direct:quick,direct,direct:high]
 *        [--sets 0,256,512] [--windows 128] [--limit 200|all] [--bits 8,7,6,5,4,3,2] [--once quept] [--options '{"groupSize":0}'] [--length 128]
 *        [--model FOLDER --calibration FILE --evaluation FILE] [--against quept] [--threads N] [--out FOLDER]
 *        [--mode weight-activation] [--twins hessian=l2]
 * A method has its effort, or options and bit-widths of its own, behind colons: `oac:backend=spqr:averageBits=2.3:hessian=l2`,
 * `oac:backend=billm:bits=1`. Without those it has `--bits`; where it has not a column's, its cell is empty.
 * `--methods all` are those of the registry, with every back-end that one has, at the bit-widths that it has. `--columns` names averages of bits in
 * place of bit-widths: a cell is what a method has nearest by, everything stored counted. `--twins` sets every method beside itself with one option
 * more, and tells the difference over all calibration sets. `--apart` calibrates each in a process of its own, and
 * tells its peak memory.
 * A set is its first window of the calibration text; methods of `--once` see the first set alone. `--options` are for every
 * method that has them. `--out` keeps the calibrated sets, and a run that writes there goes on where one before it ended. `awq` is AWQ with clipping, `autoround` its authors' library at 4, 3 and 2 bits (`methods/`).
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bytes, parseWidths, table } from '../engine/cli/format.js';
import type { Mode } from '../engine/protocol/protocol.js';
import { duration } from '../engine/time-left.js';
import { allMethods, averagesTable } from './average-methods.js';
import { inOwnProcess } from './own-process.js';
import {
  calibrateApart,
  mean,
  measureMethods,
  pairedDifference,
  withSpread,
  type Wanted,
} from './measured-methods.js';

const samples = fileURLToPath(new URL('../samples', import.meta.url));
const speeches = join(samples, 'data', 'speeches');
const { values: flags } = parseArgs({
  options: {
    methods: { type: 'string', default: 'rounding,gptq,awq,quept,direct:quick,direct,direct:high' },
    sets: { type: 'string', default: '0,256,512' },
    windows: { type: 'string', default: '128' },
    limit: { type: 'string', default: '200' },
    bits: { type: 'string', default: '8,7,6,5,4,3,2' },
    once: { type: 'string', default: 'quept' },
    mode: { type: 'string', default: 'weight-only' },
    options: { type: 'string', default: '{}' },
    against: { type: 'string', default: 'quept' },
    length: { type: 'string' },
    model: { type: 'string', default: join(samples, 'llama-speeches') },
    calibration: { type: 'string', default: join(speeches, 'calibration.txt') },
    evaluation: { type: 'string', default: join(speeches, 'evaluation.txt') },
    threads: { type: 'string' },
    out: { type: 'string' },
    columns: { type: 'string' },
    twins: { type: 'string' },
    apart: { type: 'boolean', default: false },
    /** Of a process of `--apart`: the one method and set that it calibrates. */
    only: { type: 'string' },
  },
});
const bits = parseWidths(flags.bits).sort((a, b) => b - a);
const sets = flags.sets.split(',').map(Number);
const { model, calibration, evaluation, length, threads } = flags;
const mode = flags.mode as Mode;
const named = flags.methods === 'all' ? await allMethods(model, mode, bits) : flags.methods.split(',');
const twinOf = (label: string) => `${label}:${flags.twins}`;
const methods = flags.twins === undefined ? named : named.flatMap((label) => [label, twinOf(label)]);
const wanted: Wanted = {
  methods,
  sets,
  bits,
  model,
  calibration,
  evaluation,
  windows: Number(flags.windows),
  mode,
  ...(flags.limit !== 'all' && { limit: Number(flags.limit) }),
  once: flags.once.split(','),
  options: JSON.parse(flags.options) as object,
  isBegun: false,
  ...(length !== undefined && { length: Number(length) }),
  ...(threads !== undefined && { threads: Number(threads) }),
  ...(flags.out !== undefined && { out: flags.out }),
};
if (flags.only !== undefined) {
  const [label = '', set] = flags.only.split('@');
  await calibrateApart({ ...wanted, out: flags.out!, methods: [label], sets: [Number(set)] });
  process.exit();
}
const { name, count, perplexity, runs, ...found } = await measureMethods({
  ...wanted,
  ...(flags.apart && { apart: inOwnProcess }),
});

print(
  `${name}, ${count} windows of ${found.length} tokens; ${flags.windows} calibration windows from ${sets.join(', ')}. Full precision: perplexity ${perplexity.toFixed(2)}. At most ${bytes(1024 * process.resourceUsage().maxRSS)} of memory in use.`,
);
if (flags.columns !== undefined) {
  const columns = flags.columns.split(',').map(Number);
  for (const text of averagesTable(runs, methods, columns, flags.against)) print(text);
  process.exit();
}

/** Of a cell that has nothing. */
const NONE = '–';
const of = (label: string) => runs.filter((run) => run.label === label);
const cpuOf = (label: string) => mean(of(label).map(({ cpu }) => cpu));
const header = ['method', ...bits.map(String)];
const rows = (cell: (label: string, width: number) => string, among = methods) =>
  among.map((label) => [label, ...bits.map((width) => cell(label, width))]);

print('KL in nats, mean over calibration sets ± their standard deviation:');
const divergences = rows((label, width) => {
  const means = of(label).flatMap(({ kl }) => (kl.has(width) ? [mean(kl.get(width)!)] : []));
  return means.length === 0 ? NONE : withSpread(means, width > 4 ? 5 : 4);
});
print(
  table(
    [...header, 'seconds', 'CPU seconds'],
    divergences.map((row) => [...row, ...tookWords(row[0]!)]),
  ),
);
print('Perplexity:');
print(
  table(
    header,
    rows((label, width) => {
      const found = of(label).flatMap((run) => run.perplexity.get(width) ?? []);
      return found.length === 0 ? NONE : mean(found).toFixed(2);
    }),
  ),
);
print('Average bits per weight, everything stored counted that the values need, adapters merged:');
print(
  table(
    header,
    rows((label, width) => of(label)[0]!.bits.get(width)?.toFixed(2) ?? NONE),
  ),
);
if (flags.twins !== undefined) {
  print(
    `KL less that of the same with ${flags.twins}, in pairs on the same windows (standard error over windows), and in how many calibration sets it is less:`,
  );
  print(
    table(
      header,
      rows((label, width) => difference(label, twinOf(label), width), named),
    ),
  );
  process.exit();
}
for (const against of [...new Set([flags.against, 'autoround', 'awq', 'gptq', 'rounding'])].filter((other) =>
  methods.includes(other),
)) {
  print(
    `KL less that of ${against}, in pairs on the same windows (standard error over windows); sets that both have seen, and in how many of several it is less. Last, how many times as much CPU time ${against} took:`,
  );
  const others = methods.filter((label) => label !== against);
  const differences = rows((label, width) => difference(label, against, width), others);
  print(
    table(
      [...header, 'times'],
      differences.map((row) => [...row, timesWord(cpuOf(against), cpuOf(row[0]!))]),
    ),
  );
}

function tookWords(label: string): string[] {
  const took = of(label).filter(({ seconds }) => seconds >= 0);
  if (took.length === 0) return [NONE, NONE];
  return [duration(mean(took.map(({ seconds }) => seconds))), mean(took.map(({ cpu }) => cpu)).toFixed(1)];
}

/** Where both took a second at least. */
function timesWord(most: number, own: number): string {
  return most >= 1 && own >= 1 ? (most / own).toPrecision(2) : NONE;
}

function difference(label: string, against: string, width: number): string {
  const pairs = runs
    .filter((run) => run.label === label)
    .flatMap((run) => {
      const own = run.kl.get(width);
      const other = runs.find((r) => r.label === against && r.set === run.set)?.kl.get(width);
      return own && other ? [{ own, other }] : [];
    });
  if (pairs.length === 0) return NONE;
  const { change, error } = pairedDifference(pairs);
  const better = pairs.filter(({ own, other }) => mean(own) < mean(other)).length;
  const sets = pairs.length > 1 ? `, ${better} of ${pairs.length}` : '';
  return `${change < 0 ? '' : '+'}${change.toPrecision(2)} ±${error.toPrecision(1)}${sets}`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n\n`);
}
