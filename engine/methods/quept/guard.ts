/**
 * What calibration does not improve keeps its start: for every bit-width the calibrated model and the one it started from
 * (searched clip, percentile scales, no adapter) are compared on samples held out, or else on the calibration set, and the
 * better one is kept.
 * At high bit-widths rounding is close to exact, and what is learned for others can cost more than it gains.
 */
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { divergences } from '../../execution/divergences.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import type { CalibrationContext } from '../method.js';
import type { AdapterLayout, BitGroup } from './adapters.js';
import type { OpenPart, PassHooks } from '../../execution/part-by-part.js';
import { seenOf, settingsOf, type QueptOptions } from './options.js';
import type { FinishedBlock } from './progress.js';
import { elasticSource } from './source.js';
import { learnedTensors } from './state.js';
import { rescaled } from '../../transforms/rescaling.js';
import { samplesFrom } from '../../execution/sample-store.js';
import type { NamedTensors } from '../../execution/tensors.js';

export interface Guarded {
  /** The groups, those bit-widths that keep their start in groups of their own with gain 0. */
  readonly groups: BitGroup[];
  /** The bit-widths that keep their start. */
  readonly kept: ReadonlySet<number>;
}

/** How much better training must look where it has seen what it is measured on (docs/METHOD.md, section 4). */
const MARGIN = 0.9;

/** Samples compared: enough to tell the means of two divergences apart (docs/METHOD.md, section 4). */
const GUARD_SAMPLES = 512;

/** The samples of the calibration set that are compared: those held out, where there are any. */
export function judgedOf(
  all: number,
  options: Pick<QueptOptions, 'heldOut'>,
): { readonly first: number; readonly samples: number } {
  const seen = seenOf(all, options);
  const first = seen < all ? seen : 0;
  return { first, samples: Math.min(all - first, GUARD_SAMPLES) };
}

/** @param blockOf what was learned of a block; read again for every bit-width */
export async function keepBetter(
  programs: Programs,
  {
    checkpoint,
    set,
    cache,
    distance,
  }: Required<Pick<CalibrationContext, 'checkpoint' | 'set' | 'cache' | 'distance'>>,
  options: QueptOptions,
  blockOf: (part: Part) => Promise<Pick<FinishedBlock, 'tensors' | 'started'>>,
  hooks: PassHooks,
): Promise<Guarded> {
  const { groups } = options;
  const { first, samples } = judgedOf(set.inputs.samples, options);
  const inputs = { ...samplesFrom(set.inputs, first), samples };
  const widths = groups.flatMap((g) => g.bits).sort((a, b) => b - a);

  const opener = (pick: (block: Pick<FinishedBlock, 'tensors' | 'started'>) => NamedTensors, gain?: 0) => {
    const gained = { ...options, groups: groups.map((group) => ({ ...group, gain: gain ?? group.gain })) };
    const tensorsOf = latest(async (part: Part) => pick(await blockOf(part)));
    const source = elasticSource(programs, rescaled(checkpoint, tensorsOf), settingsOf(gained), tensorsOf);
    return (bits: number): OpenPart => quantizedParts(programs, source, bits);
  };
  const learned = opener(({ tensors }) => tensors);
  const started = opener(({ tensors, started }) => new Map([...tensors, ...started]), 0);

  const costs = await divergences(
    programs,
    { checkpoint, inputs, batch: Math.min(options.batch, inputs.samples), cache, distance },
    widths.flatMap((bits) => [learned(bits), started(bits)]),
    hooks,
  );
  const kept = new Set(
    widths.filter((_, i) => !(costs[2 * i]! < (first > 0 ? 1 : MARGIN) * costs[2 * i + 1]!)),
  );
  return { groups: groups.flatMap((group) => splitGroup(group, kept)), kept };
}

/** What is read of a part is asked for more than once while it is open, and then never again. */
function latest<T>(read: (part: Part) => Promise<T>): (part: Part) => Promise<T> {
  let last: { readonly part: Part; readonly found: Promise<T> } | undefined;
  return (part) => {
    if (last?.part !== part) last = { part, found: read(part) };
    return last.found;
  };
}

/** What is kept of a block: learned, but for the bit-widths that keep their start. */
export function keptTensors(
  layout: AdapterLayout,
  { tensors, started }: Pick<FinishedBlock, 'tensors' | 'started'>,
  kept: ReadonlySet<number>,
): NamedTensors {
  const back = learnedTensors(layout).filter(({ bits }) => bits !== undefined && kept.has(bits));
  return new Map([...tensors, ...back.map(({ name }) => [name, started.get(name)!] as const)]);
}

/** The group in runs of bit-widths, high to low, that keep their start or do not. */
function splitGroup(group: BitGroup, kept: ReadonlySet<number>): BitGroup[] {
  const runs: { bits: number[]; kept: boolean }[] = [];
  for (const bits of [...group.bits].sort((a, b) => b - a)) {
    if (runs.at(-1)?.kept === kept.has(bits)) runs.at(-1)!.bits.unshift(bits);
    else runs.push({ bits: [bits], kept: kept.has(bits) });
  }
  return runs.map((run) => ({ ...group, bits: run.bits, gain: run.kept ? 0 : group.gain }));
}
