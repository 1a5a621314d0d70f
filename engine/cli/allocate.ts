/** The command `allocate`: from measured costs and a budget to a precision plan. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { fingerprintCache } from '../catalog/fingerprints.js';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../formats/atomic.js';
import { placeOf, tryFolder } from '../formats/output.js';
import { SENSITIVITY_FILE } from '../formats/sensitivity.js';
import { isThere, statPath } from '../formats/paths.js';
import { whileLocked } from '../locks/lock.js';
import { constrained, describePrecision, readMeasured } from '../jobs/precision.js';
import { bestMeasured, type Compare } from '../jobs/measured-plan.js';
import { best, solve } from '../plans/allocate.js';
import { budgetOfSize, sizeWithin } from '../plans/budget.js';
import { candidatesBeside, type Candidates } from '../plans/candidates.js';
import { compileGlob } from '../plans/globs.js';
import { formatBytesUp, formatWidth } from '../plans/numbers.js';
import { parsePlan } from '../plans/plan.js';
import { totalsOf } from '../plans/totals.js';
import { bytes, commandLine } from './format.js';
import type { Budget, MeasuredPlan, Placement, PrecisionTable } from '../protocol/protocol.js';

export interface AllocateOptions extends Placement {
  /** Mean over the weights of all layers. */
  readonly averageBits?: number;
  /** Bytes of the whole model. */
  readonly maxSize?: number;
  /** A glob of layers, and their bits. */
  readonly fix?: readonly (readonly [string, number])[];
  readonly adapters?: string;
  /** Needed for a size, which is that of the whole model, and for measuring. */
  readonly model?: string;
  /** What plans are measured on; without it the plan is the one of least predicted cost. */
  readonly data?: string;
  readonly samples?: number;
  readonly length?: number;
  readonly batch?: number;
  readonly out: string;
  /** Replace the plan that is there. */
  readonly force?: boolean;
}

export interface Allocated {
  readonly out: string;
  readonly averageBits: number;
  /** Of the layers alone. */
  readonly layerBytes: number;
  /** Of the model as it would ship, and what it takes to stay switchable; known where its folder is. */
  readonly bytes?: number;
  readonly switchableBytes?: number;
  /** The sum of the layers' sensitivities, nats. */
  readonly cost: number;
  readonly exact: boolean;
  readonly stale?: string;
  readonly measured?: MeasuredPlan;
}

/**
 * @param file `sensitivity.json`, or the adapter set that has one
 * @param compare measures plans, where data is given. Throws UserError with the smallest possible where nothing fits
 */
export async function allocate(file: string, options: AllocateOptions, compare: Compare): Promise<Allocated> {
  const [kind, budget] = budgetOf(options);
  requireModel(options);
  const place = await openPlanOutput(options);
  return whileLocked(place, () => allocateInto(place, kind, budget, file, options, compare));
}

async function allocateInto(
  place: string,
  kind: Budget,
  budget: number,
  file: string,
  options: AllocateOptions,
  compare: Compare,
): Promise<Allocated> {
  const path = await sensitivityAt(file);
  const folder = resolve(options.adapters ?? dirname(path));
  const { bits, layers, costs, stale } = await readMeasured(path, folder);
  const names = layers.map(({ name }) => name);
  const fixed = new Map<string, number>();
  for (const [glob, width] of options.fix ?? []) {
    const matched = names.filter(compileGlob(glob));
    if (matched.length === 0) throw new UserError(`No layer matches "${glob}".`);
    for (const name of matched) fixed.set(name, width);
  }
  const limits = [...fixed].map(([layer, width]) => ({ layer, fixed: width }));
  const allocation = constrained(layers, costs, limits);
  const described = await describe(options.model, folder);
  const whole = { layers, otherBytes: described?.otherBytes ?? 0 };
  const frontier = solve(bits, allocation, kind);
  const size = sizeWithin(kind, whole, budget);
  const least = best(frontier, size)?.bits();
  if (!least) {
    const smallest = showSmallest(kind, budgetOfSize(kind, whole, frontier.points[0]!.size));
    throw new UserError(
      `No plan is within ${showSize(kind, budget)}; the smallest possible has ${smallest}.`,
    );
  }
  const candidates = () => candidatesBeside(least, bits, allocation, kind, size);
  const inFolder = { ...options, adapters: folder };
  const { plan, measured } = await chosen(least, candidates, inFolder, compare);
  await writeFileAtomic(place, planText(names, plan, place, inFolder));
  const totals = totalsOf({ bits, layers, otherBytes: 0, sensitivity: { costs } }, plan);
  return {
    out: options.out,
    averageBits: totals.averageBits,
    layerBytes: totals.bytes,
    ...(described && {
      bytes: totals.bytes + described.otherBytes,
      switchableBytes: described.switchableBytes!,
    }),
    cost: totals.cost!,
    exact: frontier.exact,
    ...(stale !== undefined && { stale }),
    ...(measured && { measured }),
  };
}

/** Throws UserError where nothing is there, or an adapter set without one. */
async function sensitivityAt(file: string): Promise<string> {
  if (!(await statPath(file)).isDirectory()) return file;
  const path = join(file, SENSITIVITY_FILE);
  if (await isThere(path)) return path;
  const command = commandLine('sensitivity', 'MODEL', '--adapters', file, '--data', 'DATA');
  throw new UserError(`${file} has no ${SENSITIVITY_FILE} yet; measure it first: ${command}`);
}

/** One line or more that say what was found. */
export function formatAllocated(r: Allocated): string {
  return [
    `Wrote ${r.out}: ${r.averageBits.toFixed(3)} bits per weight, ${r.bytes === undefined ? `${bytes(r.layerBytes)} of layers` : bytes(r.bytes)}, predicted cost ${nats(r.cost)}.`,
    ...(r.switchableBytes === undefined
      ? []
      : [`To stay switchable: ${bytes(r.switchableBytes)}, the original model and the adapter set.`]),
    ...(r.measured
      ? measuredLines(r.measured)
      : ['Predicted, not measured: with --model and --data it is compared with uniform bit-widths.']),
    ...(r.exact ? [] : ['Sizes were rounded up to be told apart; a slightly better plan may exist.']),
    ...(r.stale === undefined ? [] : [r.stale]),
  ].join('\n');
}

/** Where the plan is written. Throws UserError where it cannot be, or what is there is not a plan to be replaced. */
async function openPlanOutput({ out, force = false }: AllocateOptions): Promise<string> {
  const place = await placeOf(out);
  await tryFolder(dirname(place), basename(place));
  if (!existsSync(place)) return place;
  if (!force)
    throw new UserError(`${out} is there already; choose another name, or replace it with --force.`);
  const text = await readFile(place, 'utf8').catch(() => '');
  if (!parsePlan(text).plan)
    throw new UserError(`${out} is there and is not a precision plan; choose another name.`);
  return place;
}

function measuredLines({ cost, predictedBest, uniform, plans, samples, data }: MeasuredPlan): string[] {
  const all = uniform && `all layers at ${formatWidth(uniform.bits, 'en')} bits`;
  const beside =
    uniform === undefined
      ? 'no uniform bit-width is within the budget'
      : `${all!}, the highest within the budget, cost ${nats(uniform.cost)}`;
  return [
    `Measured cost ${nats(cost)} on ${samples} samples of ${data}; ${beside}.`,
    ...(predictedBest > cost
      ? [
          `The plan of least predicted cost measured ${nats(predictedBest)}${uniform && predictedBest > uniform.cost ? `, worse than ${all!}` : ''}; what was written measured best of ${plans}.`,
        ]
      : []),
  ];
}

const nats = (cost: number) => `${cost.toPrecision(4)} nats`;

/** The plan of least predicted cost, or, where there is data, the candidate that measured best. */
async function chosen(
  least: readonly number[],
  candidates: () => Candidates,
  options: AllocateOptions & { readonly adapters: string },
  compare: Compare,
): Promise<{ readonly plan: readonly number[]; readonly measured?: MeasuredPlan }> {
  const { model, adapters, data, samples, length, batch, device, threads } = options;
  if (data === undefined) return { plan: least };
  const request = {
    ...{ model: model!, adapters, data },
    ...(samples !== undefined && { samples }),
    ...(length !== undefined && { length }),
    ...(batch !== undefined && { batch }),
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
  };
  return bestMeasured(candidates(), request, compare);
}

function budgetOf({ averageBits, maxSize }: AllocateOptions): [Budget, number] {
  if ((averageBits === undefined) === (maxSize === undefined))
    throw new UserError('Name one budget: --average-bits or --max-size.');
  return averageBits === undefined ? ['bytes', maxSize!] : ['average-bits', averageBits];
}

/** Throws UserError for what has no effect, or cannot be told, without the model. */
function requireModel({ model, maxSize, data, samples, length, batch, threads }: AllocateOptions): void {
  if (model === undefined && maxSize !== undefined)
    throw new UserError('A size is that of the whole model: name its folder with --model.');
  if (model === undefined && data !== undefined)
    throw new UserError('Measuring runs the model: name its folder with --model.');
  if (data === undefined && [samples, length, batch, threads].some((value) => value !== undefined))
    throw new UserError(
      '--samples, --length, --batch and --threads are of what is measured: name it with --data.',
    );
}

const describe = async (model: string | undefined, adapters: string): Promise<PrecisionTable | undefined> =>
  model === undefined ? undefined : describePrecision({ model, adapters }, fingerprintCache());

const showSize = (kind: Budget, size: number) =>
  kind === 'bytes' ? bytes(size) : `${Number(size.toFixed(3))} bits on average`;

/** Rounded up, so that what is shown is a budget that is accepted. */
const showSmallest = (kind: Budget, size: number) =>
  kind === 'bytes'
    ? formatBytesUp(size, 'en')
    : `${Number((Math.ceil(1000 * size - 1e-6) / 1000).toFixed(3))} bits on average`;

/** The most frequent width is the default. Folders are named as seen from the plan's, where that can be done. */
function planText(
  names: readonly string[],
  widths: readonly number[],
  out: string,
  folders: Pick<AllocateOptions, 'model' | 'adapters'>,
): string {
  const count = (width: number) => widths.filter((w) => w === width).length;
  const common = [...new Set(widths)].sort((a, b) => count(b) - count(a) || a - b)[0]!;
  const from = (path: string) => relative(dirname(out), resolve(path)).split(sep).join('/') || '.';
  const plan = {
    ...(folders.model !== undefined && { model: from(folders.model) }),
    ...(folders.adapters !== undefined &&
      existsSync(folders.adapters) && { adapters: from(folders.adapters) }),
    default: common,
    layers: Object.fromEntries(
      names.flatMap((name, i) => (widths[i] === common ? [] : [[name, widths[i]!] as const])),
    ),
  };
  return `${JSON.stringify(plan, null, 2)}\n`;
}
