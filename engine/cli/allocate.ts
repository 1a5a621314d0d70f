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
import { pricedByFormat, type SizePlans } from '../jobs/export-prices.js';
import { bestMeasured, type Compare } from '../jobs/measured-plan.js';
import type { PlanSize, SizeExportsRequest } from '../jobs/requests.js';
import { best, planSize, solve } from '../plans/allocate.js';
import { budgetOfSize, sizeWithin } from '../plans/budget.js';
import { candidatesBeside, type Candidates } from '../plans/candidates.js';
import { compileGlob } from '../plans/globs.js';
import { formatBytesUp } from '../plans/numbers.js';
import { parsePlan } from '../plans/plan.js';
import { totalsOf } from '../plans/totals.js';
import type { Allocated } from './allocated.js';
import { bytes, commandLine } from './format.js';
import type { Budget, MeasuredPlan, Placement, PrecisionTable } from '../protocol/protocol.js';

export interface AllocateOptions extends Placement {
  /** Mean over the weights of all layers. */
  readonly averageBits?: number;
  /** Bytes of the whole model. */
  readonly maxSize?: number;
  /** The export format that the size is of; without it, it is that of the weights as this engine counts them. */
  readonly format?: string;
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

/**
 * @param file `sensitivity.json`, or the adapter set that has one
 * @param compare measures plans, where data is given @param size needed for a format. Throws UserError with the smallest possible where nothing fits
 */
export async function allocate(
  file: string,
  options: AllocateOptions,
  compare: Compare,
  size?: SizeExports,
): Promise<Allocated> {
  const [kind, budget] = budgetOf(options);
  requireModel(options);
  const place = await openPlanOutput(options);
  return whileLocked(place, () => allocateInto(place, kind, budget, file, options, compare, size));
}

/** Asks what plans take in an export format. */
export type SizeExports = (request: SizeExportsRequest) => Promise<readonly PlanSize[]>;

async function allocateInto(
  place: string,
  kind: Budget,
  budget: number,
  file: string,
  options: AllocateOptions,
  compare: Compare,
  size?: SizeExports,
): Promise<Allocated> {
  const path = await sensitivityAt(file);
  const folder = resolve(options.adapters ?? dirname(path));
  const { stale, ...measuredCosts } = await readMeasured(path, folder);
  const { model, format } = options;
  const described = await describe(model, folder);
  const sizes =
    format === undefined ? undefined : sizesIn(size!, { model: model!, adapters: folder, format });
  const priced = sizes && (await pricedByFormat(measuredCosts, sizes));
  const { bits, layers, costs } = priced ?? measuredCosts;
  const names = layers.map(({ name }) => name);
  const allocation = constrained(layers, costs, fixedIn(names, options.fix ?? []));
  const whole = { layers, otherBytes: (priced ?? described)?.otherBytes ?? 0 };
  const frontier = solve(bits, allocation, kind);
  const inFolder = { ...options, adapters: folder };
  let within = sizeWithin(kind, whole, budget);
  let found: Awaited<ReturnType<typeof chosen>>;
  let exported: number | undefined;
  for (;;) {
    const least = best(frontier, within)?.bits();
    if (!least) {
      const smallest = showSmallest(kind, budgetOfSize(kind, whole, frontier.points[0]!.size));
      throw new UserError(
        `No plan is within ${showSize(kind, budget)}; the smallest possible has ${smallest}.`,
      );
    }
    const candidates = () => candidatesBeside(least, bits, allocation, kind, within);
    found = await chosen(least, candidates, inFolder, compare);
    exported = sizes && (await sizeOfPlan(sizes, found.plan));
    if (kind !== 'bytes' || exported === undefined || exported <= budget) break;
    // An index and alignment took more than the layers' own bytes.
    within = Math.min(within, planSize(bits, allocation, kind, found.plan)) - (exported - budget);
  }
  const { plan, measured } = found;
  await writeFileAtomic(place, planText(names, plan, place, inFolder));
  const totals = totalsOf({ bits, layers, otherBytes: 0, sensitivity: { costs } }, plan);
  return {
    out: options.out,
    averageBits: totals.averageBits,
    layerBytes: totals.bytes,
    ...(format !== undefined && { format }),
    ...(described && {
      bytes: exported ?? totals.bytes + described.otherBytes,
      switchableBytes: described.switchableBytes!,
    }),
    cost: totals.cost!,
    exact: frontier.exact,
    ...(stale !== undefined && { stale }),
    ...(measured && { measured }),
  };
}

const sizesIn =
  (size: SizeExports, request: Omit<SizeExportsRequest, 'plans'>): SizePlans =>
  (plans) =>
    size({ ...request, plans });

/** Throws UserError for a plan that the format cannot hold. */
async function sizeOfPlan(sizes: SizePlans, plan: readonly number[]): Promise<number> {
  const [size] = await sizes([plan]);
  if ('refusal' in size!) throw new UserError(size.refusal);
  return size!.bytes;
}

/** Throws UserError for a glob that matches no layer. */
function fixedIn(names: readonly string[], globs: NonNullable<AllocateOptions['fix']>) {
  const fixed = new Map<string, number>();
  for (const [glob, width] of globs) {
    const matched = names.filter(compileGlob(glob));
    if (matched.length === 0) throw new UserError(`No layer matches "${glob}".`);
    for (const name of matched) fixed.set(name, width);
  }
  return [...fixed].map(([layer, width]) => ({ layer, fixed: width }));
}

/** Throws UserError where nothing is there, or an adapter set without one. */
async function sensitivityAt(file: string): Promise<string> {
  if (!(await statPath(file)).isDirectory()) return file;
  const path = join(file, SENSITIVITY_FILE);
  if (await isThere(path)) return path;
  const command = commandLine('sensitivity', 'MODEL', '--adapters', file, '--data', 'DATA');
  throw new UserError(`${file} has no ${SENSITIVITY_FILE} yet; measure it first: ${command}`);
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
function requireModel({
  model,
  maxSize,
  format,
  data,
  samples,
  length,
  batch,
  threads,
}: AllocateOptions): void {
  if (model === undefined && maxSize !== undefined)
    throw new UserError('A size is that of the whole model: name its folder with --model.');
  if (model === undefined && format !== undefined)
    throw new UserError('An export is of the whole model: name its folder with --model.');
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
