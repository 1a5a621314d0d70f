/**
 * What calibration does not improve keeps its start: for every bit-width the calibrated model and the one it started from
 * (searched clip, percentile scales, no adapter) are compared on the calibration set, and the better one is kept.
 * At high bit-widths rounding is close to exact, and what is learned for others can cost more than it gains.
 */
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import type { CalibrationContext } from '../method.js';
import type { AdapterLayout, BitGroup } from './adapters.js';
import { passBlocks, plainParts, type OpenPart, type PassHooks } from '../../execution/part-by-part.js';
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
  { signal, status }: PassHooks,
): Promise<Guarded> {
  const { groups } = options;
  const { model } = checkpoint;
  const samples = Math.min(set.inputs.samples, GUARD_SAMPLES);
  const batch = Math.min(options.batch, samples);
  const inputs = { ...set.inputs, samples };
  const widths = groups.flatMap((g) => g.bits).sort((a, b) => b - a);

  let passes = 0;
  /** What the head reads behind these parts. */
  const pass = async (open: OpenPart) => {
    const store = await passBlocks(programs, model, open, inputs, {
      cache,
      batch,
      signal,
      status: (done) => status?.((passes + done) / (1 + 2 * widths.length)),
    });
    passes++;
    return store;
  };
  const opener = (pick: (block: Pick<FinishedBlock, 'tensors' | 'started'>) => NamedTensors, gain?: 0) => {
    const gained = { ...options, groups: groups.map((group) => ({ ...group, gain: gain ?? group.gain })) };
    const tensorsOf = latest(async (part: Part) => pick(await blockOf(part)));
    const source = elasticSource(programs, rescaled(checkpoint, tensorsOf), settingsOf(gained), tensorsOf);
    return (bits: number): OpenPart => quantizedParts(programs, source, bits);
  };
  const learned = opener(({ tensors }) => tensors);
  const started = opener(({ tensors, started }) => new Map([...tensors, ...started]), 0);

  const plain = plainParts(programs, checkpoint);
  const reference = await pass(plain);
  const divergence = async (open: OpenPart) => {
    const q = { store: await pass(open), head: await open(model.head) };
    const p = { store: reference, head: await plain(model.head) };
    return distance(programs, model, p, q, signal).finally(() => {
      p.head.dispose();
      q.head.dispose();
      q.store.release();
    });
  };
  try {
    const kept = new Set<number>();
    for (const bits of widths)
      if (!((await divergence(learned(bits))) < MARGIN * (await divergence(started(bits))))) kept.add(bits);
    return { groups: groups.flatMap((group) => splitGroup(group, kept)), kept };
  } finally {
    reference.release();
  }
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
