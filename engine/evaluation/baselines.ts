/** Sets that an evaluation calibrates for itself, by other methods, to hold adapter sets against. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { UserError } from '../errors.js';
import type { Distance } from '../execution/logit-divergence.js';
import { openSampleCache, scratchFolder, type SampleCache } from '../execution/sample-store.js';
import { calibrate } from '../methods/calibrate.js';
import type { AnyMethod, CalibrationSet, CommonSettings } from '../methods/method.js';
import { methodNamed } from '../methods/registry.js';
import { openAdapterSet } from '../methods/sets.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { EvaluateRequest } from '../protocol/protocol.js';
import type { Programs } from '../runtime/programs.js';
import { version } from '../version.js';
import { baselineWidths, type NamedSet } from './sets.js';

/** A baseline before it is calibrated. */
interface Planned {
  readonly label: string;
  readonly method: AnyMethod;
  readonly settings: CommonSettings;
  /** Where its samples come from; absent where it wants none. */
  readonly data?: string;
}

export interface Baselines {
  /** Samples that calibrating reads, over and over: a measure of its work beside the evaluation's. */
  readonly work: number;
  readonly planned: readonly Pick<Planned, 'method' | 'settings'>[];
  /** Calibrates them, one after another; the caller closes them by `close`. @param status hears the share that is done */
  open(programs: Programs, memory: number, hooks: BaselineHooks): Promise<readonly NamedSet[]>;
  close(): Promise<void>;
}

/** What baselines need of a model's task. */
export interface BaselineTask {
  readonly words: { readonly data: string };
  readonly sharesData: boolean;
  readonly distance: Distance;
  read(
    checkpoint: Checkpoint,
    path: string,
    draw: Pick<CommonSettings, 'samples' | 'seed' | 'batch'> & { readonly first: true },
    cache: SampleCache,
    signal: AbortSignal,
  ): Promise<{ readonly set: CalibrationSet }>;
}

export interface BaselineHooks {
  readonly signal: AbortSignal;
  readonly status: (done: number) => void;
  readonly note: (line: string) => void;
}

/**
 * Decides what will be calibrated. Throws UserError, before any work, for a method that cannot be a baseline of this
 * model, and where its data is not named.
 */
export function planBaselines(
  task: BaselineTask,
  checkpoint: Checkpoint,
  request: EvaluateRequest,
  sets: readonly NamedSet[],
  widths: readonly number[],
): Baselines {
  const planned = (request.baseline ?? []).flatMap((name) =>
    plan(methodNamed(name), task, checkpoint, request, sets, widths),
  );
  const folder = join(scratchFolder(), `.baselines.${process.pid}-${randomBytes(4).toString('hex')}.partial`);
  const opened: NamedSet[] = [];
  const work = planned.reduce((sum, { settings }) => sum + workOf(checkpoint, settings), 0);
  return {
    work,
    planned,
    open: async (programs, memory, { signal, status, note }) => {
      const cache = await openSampleCache(memory);
      let before = 0;
      try {
        for (const [i, { label, method, settings, data }] of planned.entries()) {
          const set =
            data === undefined ? undefined : await read(task, checkpoint, data, settings, cache, signal);
          const out = join(folder, `${i}`);
          const own = workOf(checkpoint, settings);
          const { distance } = task;
          const asked = { checkpoint, distance, ...(set && { set }), method, settings, out, cache };
          await calibrate(
            programs,
            { ...asked, resume: false, engineVersion: version },
            {
              signal,
              note,
              status: ({ done }) => work > 0 && status((before + done * own) / work),
            },
          );
          before += own;
          opened.push({ label, kind: 'baseline', set: await openAdapterSet(out), plans: [] });
        }
        return opened;
      } finally {
        cache.close();
      }
    },
    close: async () => {
      for (const { set } of opened) await set.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function plan(
  method: AnyMethod,
  { words, sharesData }: BaselineTask,
  checkpoint: Checkpoint,
  { data, baselineData, baselineSamples }: EvaluateRequest,
  sets: readonly NamedSet[],
  widths: readonly number[],
): Planned[] {
  if (!method.baselines)
    throw new UserError(`The method "${method.name}" is not for comparison; evaluate an adapter set of it.`);
  const configs = sets.map(({ set }) => set.config);
  return method.baselines(checkpoint, configs).map(({ label, common, given }): Planned => {
    const whole = baselineWidths(widths);
    const taken = whole.filter((bits) =>
      takes(() => method.settings(checkpoint, { ...common, bits: [bits] }, given)),
    );
    // Where it takes none, what it says of all of them is why.
    const own = { ...common, bits: taken.length > 0 ? taken : whole };
    const asked = method.settings(checkpoint, own, given);
    const settings =
      asked.samples === 0 || baselineSamples === undefined
        ? asked
        : method.settings(checkpoint, { ...own, samples: baselineSamples }, given);
    if (settings.samples === 0) return { label, method, settings };
    if (!sharesData && baselineData === undefined)
      throw new UserError(
        `The baseline "${method.name}" needs ${words.data} to calibrate on; name it with --baseline-data.`,
      );
    return { label, method, settings, data: baselineData ?? data };
  });
}

/** Whether a method has settings: only it knows which bit-widths it has for a model. */
function takes(settings: () => CommonSettings): boolean {
  try {
    settings();
    return true;
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}

/** The first samples, so that the same ones come whatever the seed. */
async function read(
  task: BaselineTask,
  checkpoint: Checkpoint,
  data: string,
  { samples, seed, batch }: CommonSettings,
  cache: SampleCache,
  signal: AbortSignal,
): Promise<CalibrationSet> {
  const draw = { samples, seed, batch, first: true } as const;
  return (await task.read(checkpoint, data, draw, cache, signal)).set;
}

/** Passes of samples through a block: one for each input that layers share, and one to the next block, at every bit-width. */
function workOf({ model, listing }: Checkpoint, { samples, offered }: CommonSettings): number {
  const inputs = new Set(listing(model.blocks[0]!).linears.map(({ input }) => input)).size;
  return samples * offered.length * (1 + inputs);
}
