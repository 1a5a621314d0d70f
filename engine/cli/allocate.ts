/** The command `allocate`: from measured costs and a budget to a precision plan. */
import { existsSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fingerprintCache } from '../catalog/fingerprints.js';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../formats/atomic.js';
import { SENSITIVITY_FILE } from '../formats/sensitivity.js';
import { statPath } from '../formats/paths.js';
import { constrained, describePrecision, readMeasured } from '../jobs/precision.js';
import { best, solve } from '../plans/allocate.js';
import { budgetOfSize, sizeWithin } from '../plans/budget.js';
import { compileGlob } from '../plans/globs.js';
import { bytes } from './format.js';
import type { Budget } from '../protocol/protocol.js';

export interface AllocateOptions {
  readonly averageBits?: number;
  readonly averageBitsPerWeight?: number;
  readonly maxSize?: number;
  /** A glob of layers, and their bits. */
  readonly fix?: readonly (readonly [string, number])[];
  readonly adapters?: string;
  /** Needed for a size, which is that of the whole model. */
  readonly model?: string;
  readonly out: string;
}

export interface Allocated {
  readonly out: string;
  readonly averageBits: number;
  readonly averageBitsPerWeight: number;
  /** Of the layers. */
  readonly bytes: number;
  readonly cost: number;
  readonly exact: boolean;
  readonly stale?: string;
}

/** @param file `sensitivity.json`, or the adapter set that has one. Throws UserError with the smallest possible where nothing fits. */
export async function allocate(file: string, options: AllocateOptions): Promise<Allocated> {
  const [kind, budget] = budgetOf(options);
  const path = (await statPath(file)).isDirectory() ? join(file, SENSITIVITY_FILE) : file;
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
  const whole = { layers, otherBytes: kind === 'bytes' ? await otherBytes(options.model, folder) : 0 };
  const frontier = solve(bits, allocation, kind);
  const found = best(frontier, sizeWithin(kind, whole, budget));
  const shown = (size: number) => showSize(kind, budgetOfSize(kind, whole, size));
  if (!found)
    throw new UserError(
      `No plan is within ${showSize(kind, budget)}; the smallest possible has ${shown(frontier.points[0]!.size)}.`,
    );
  const widths = found.bits();
  await writeFileAtomic(
    options.out,
    planText(names, widths, resolve(options.out), { ...options, adapters: folder }),
  );
  const at = (i: number) => bits.indexOf(widths[i]!);
  const weights = layers.reduce((sum, l) => sum + l.weights, 0);
  return {
    out: options.out,
    averageBits: widths.reduce((a, b) => a + b, 0) / widths.length,
    averageBitsPerWeight: layers.reduce((sum, l, i) => sum + l.weights * widths[i]!, 0) / weights,
    bytes: layers.reduce((sum, l, i) => sum + l.bytes[at(i)]!, 0),
    cost: found.cost,
    exact: frontier.exact,
    ...(stale !== undefined && { stale }),
  };
}

function budgetOf({ averageBits, averageBitsPerWeight, maxSize }: AllocateOptions): [Budget, number] {
  const named = (
    [
      ['average-bits', averageBits],
      ['average-bits-per-weight', averageBitsPerWeight],
      ['bytes', maxSize],
    ] as const
  ).filter((each): each is [Budget, number] => each[1] !== undefined);
  if (named.length !== 1)
    throw new UserError('Name one budget: --average-bits, --average-bits-per-weight or --max-size.');
  return named[0]!;
}

async function otherBytes(model: string | undefined, adapters: string): Promise<number> {
  if (model === undefined)
    throw new UserError('A size is that of the whole model: name its folder with --model.');
  return (await describePrecision({ model, adapters }, fingerprintCache())).otherBytes;
}

const showSize = (kind: Budget, size: number) =>
  kind === 'bytes' ? bytes(size) : `${Number(size.toFixed(3))} bits on average`;

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
