/** All methods of the registry beside each other by the average bits that they come to. */
import { bytes, table } from '../engine/cli/format.js';
import { UserError } from '../engine/errors.js';
import type { AnyMethod } from '../engine/methods/method.js';
import { listOptions } from '../engine/methods/options.js';
import { methodsFor } from '../engine/methods/usual.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import type { Mode } from '../engine/protocol/protocol.js';
import { duration } from '../engine/time-left.js';
import { mean, pairedDifference, type Run } from './measured-methods.js';

const NONE = '–';
/** Columns of a group that takes about .3 bits for its scale and zero point. */
const FINER = 64;

/** A label for every method that has the mode for a model, and for each of its back-ends, at those of the bit-widths that it has, or averages. */
export async function allMethods(path: string, mode: Mode, bits: readonly number[]): Promise<string[]> {
  const checkpoint = await openCheckpoint(path);
  try {
    return methodsFor(checkpoint)
      .filter((method) => method.modes(checkpoint).includes(mode))
      .flatMap((method) => labelsOf(checkpoint, method, mode, bits));
  } finally {
    await checkpoint.close();
  }
}

function labelsOf(checkpoint: Checkpoint, method: AnyMethod, mode: Mode, bits: readonly number[]): string[] {
  const backends = new Map(listOptions(method.options)).get('backend')?.choices ?? [undefined];
  return backends.flatMap((backend) => {
    const label = backend === undefined ? method.name : `${method.name}:backend=${backend}`;
    const given = backend === undefined ? {} : { backend };
    const has = (widths: object, more: object = {}) => {
      try {
        method.settings(checkpoint, { mode, ...widths }, { ...given, ...more });
        return true;
      } catch (error) {
        if (error instanceof UserError) return false;
        throw error;
      }
    };
    const own = bits.filter((width) => has({ bits: [width] })).sort((a, b) => a - b);
    if (own.length === 0)
      return bits
        .filter((averageBits) => has({}, { averageBits }))
        .map((average) => `${label}:averageBits=${average}`);
    // Between whole bits lie smaller groups of columns.
    const between = new Set(bits.filter((width) => !Number.isInteger(width)).map(Math.floor));
    const finer = own.filter((width) => between.has(width) && has({ bits: [width] }, { groupSize: FINER }));
    return [
      `${label}:bits=${own[0] === own.at(-1) ? own[0] : `${own[0]}-${own.at(-1)}`}`,
      ...(backend === undefined && 'groupSize' in method.options
        ? finer.map((width) => `${label}:bits=${width}:groupSize=${FINER}`)
        : []),
    ];
  });
}

/** A bit-width of a run that stands in a column. */
interface Cell {
  readonly run: Run;
  readonly width: number;
  readonly bits: number;
}

/** How far the average of a cell may be from its column's. */
const FARTHEST = 0.5;

/** What a method has in a column: of its bit-widths the one whose average is nearest, if any is near. */
function cellOf(
  runs: readonly Run[],
  label: string,
  columns: readonly number[],
  column: number,
): Cell | undefined {
  const cells = runs
    .filter((run) => run.label === label)
    .flatMap((run) => [...run.bits].map(([width, bits]): Cell => ({ run, width, bits })))
    // An average that was asked for stands in its column, whatever is stored beside what it counts.
    .map((cell) => ({ ...cell, average: Number.isInteger(cell.width) ? cell.bits : cell.width }))
    .filter(({ average }) => nearest(columns, average) === column && Math.abs(average - column) <= FARTHEST);
  return cells.sort((a, b) => Math.abs(a.average - column) - Math.abs(b.average - column))[0];
}

const nearest = (columns: readonly number[], average: number): number =>
  columns.reduce((best, one) => (Math.abs(one - average) < Math.abs(best - average) ? one : best));

/** One table of all methods, and one of their differences from another's, in pairs; each with its heading. */
export function averagesTable(
  runs: readonly Run[],
  methods: readonly string[],
  columns: readonly number[],
  against: string,
): string[] {
  const others = methods.filter((label) => label === against || label.startsWith(`${against}:`));
  const cells = (label: string) => columns.map((column) => cellOf(runs, label, columns, column));
  const klOf = ({ run, width }: Cell) => run.kl.get(width)!;
  const theirs = columns.map((_, i) => others.map((label) => cells(label)[i]).find((cell) => cell));
  const rows = methods.map((label) => [
    label,
    ...cells(label).map((cell) =>
      cell
        ? `${mean(klOf(cell)).toFixed(4)} ${cell.run.perplexity.get(cell.width)!.toFixed(2)} (${cell.bits.toFixed(2)})`
        : NONE,
    ),
    ...took(runs.find((run) => run.label === label)!),
  ]);
  const differences = methods
    .filter((label) => !others.includes(label))
    .map((label) => [
      label,
      ...cells(label).map((own, i) => {
        const other = theirs[i];
        if (!own || !other) return NONE;
        const { change, error } = pairedDifference([{ own: klOf(own), other: klOf(other) }]);
        return `${change < 0 ? '' : '+'}${change.toPrecision(2)} ±${error.toPrecision(1)}`;
      }),
    ]);
  const header = ['method', ...columns.map(String)];
  return [
    'By average bits: KL in nats, perplexity, and in brackets the bits a weight, everything stored counted; what the calibration of all of a row took:',
    table([...header, 'seconds', 'CPU seconds', 'peak memory'], rows),
    ...(others.length === 0
      ? []
      : [
          `KL less that of ${against}, in pairs on the same windows (standard error over windows):`,
          table(header, differences),
        ]),
  ];
}

function took({ seconds, cpu, memory }: Run): string[] {
  if (!(seconds >= 0)) return [NONE, NONE, NONE];
  return [duration(seconds), cpu.toFixed(1), memory === undefined ? NONE : bytes(memory)];
}
