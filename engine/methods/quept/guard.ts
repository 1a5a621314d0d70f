/**
 * What calibration does not improve keeps its start: for every bit-width the calibrated model and the one it started from
 * (searched clip, percentile scales, no adapter) are compared on the calibration set, and the better one is kept.
 * At high bit-widths rounding is close to exact, and what is learned for others can cost more than it gains.
 */
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { divergences } from '../../execution/divergences.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import type { CalibrationContext } from '../method.js';
import type { AdapterLayout, BitGroup } from './adapters.js';
import type { OpenPart, PassHooks } from '../../execution/part-by-part.js';
import { settingsOf, type QueptOptions } from './options.js';
import type { FinishedBlock } from './progress.js';
import { elasticSource } from './source.js';
import { learnedTensors } from './state.js';
import { rescaled } from '../../transforms/rescaling.js';
import type { NamedTensors } from '../../execution/tensors.js';

export interface Guarded {
  /** The groups, those bit-widths that keep their start in groups of their own with gain 0. */
  readonly groups: BitGroup[];
  /** The bit-widths that keep their start. */
  readonly kept: ReadonlySet<number>;
}

/** How much better training must look: the set it is measured on is the one it has seen (docs/METHOD.md, section 4). */
const MARGIN = 0.9;

/** Samples compared: enough to tell the means of two divergences apart (docs/METHOD.md, section 4). */
export const GUARD_SAMPLES = 512;

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
  const samples = Math.min(set.inputs.samples, GUARD_SAMPLES);
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
    { checkpoint, inputs: { ...set.inputs, samples }, batch: options.batch, cache, distance },
    widths.flatMap((bits) => [learned(bits), started(bits)]),
    hooks,
  );
  const kept = new Set(widths.filter((_, i) => !(costs[2 * i]! < MARGIN * costs[2 * i + 1]!)));
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
