/** Training of one window: the loop around the step graph (docs/METHOD.md, section 17). */
import { createRandom } from '../../data/random.js';
import { CancelledError, UserError } from '../../errors.js';
import { batchReader, tensorsOfBatch } from '../../execution/batches.js';
import { disposeAll, placeAll } from '../../execution/part.js';
import { everySample, type Samples, type SampleSource, type Sources } from '../../execution/sample-store.js';
import { adamScalars } from '../../graph/optimizers.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import type { SliderquantSettings } from './settings.js';
import { packState, stateSizes, unpackState, type Kind, type LayerState, type StateLayout } from './state.js';
import { stepGraph } from './step.js';

export interface WindowTask {
  readonly window: Part;
  readonly layout: StateLayout;
  /** By their names in the window. */
  readonly parameters: ReadonlyMap<string, HostTensor>;
  readonly start: ReadonlyMap<string, LayerState>;
  /** What the quantized blocks before it yield, and what feeds side ports. */
  readonly x: Samples;
  readonly side: Sources;
  /** What the window yields in full precision, of every sample. */
  readonly target: SampleSource;
  readonly bits: number;
  /** Of the columns of weights that are rounded. */
  readonly share: number;
  readonly epochs: number;
  /** Names the streams of random numbers. */
  readonly path: readonly (string | number)[];
}

export interface WindowHooks {
  readonly signal: AbortSignal;
  /** After every step; the mean loss of the latest whole epoch, if any. */
  onStep(done: number, loss: number | undefined): void;
}

/** How a window is trained on so many samples: samples of a step, and steps of an epoch. */
export function stepsOf({ batch: most }: Pick<SliderquantSettings, 'batch'>, samples: number) {
  const batch = Math.min(most, samples);
  return { batch, perEpoch: Math.floor(samples / batch) };
}

/** What the window's layers come to; the mean loss of every epoch. */
export async function trainWindow(
  programs: Programs,
  task: WindowTask,
  settings: Pick<SliderquantSettings, 'loss' | 'rates' | 'seed' | 'batch'>,
  hooks: WindowHooks,
): Promise<{ readonly layers: Map<string, LayerState>; readonly losses: readonly number[] }> {
  const { runtime } = programs;
  const { window, layout, x, side, target, share, epochs } = task;
  const { batch, perEpoch } = stepsOf(settings, target.samples);
  const graph = stepGraph(window, layout, { batch, loss: settings.loss, share });
  const program = await programs.get(graph, `window ${window.kind} ×${batch}`);
  const reader = batchReader(window, x, side, batch);
  const y = new Float32Array(batch * target.size);
  const scalar = (value: number) => runtime.tensor(Float32Array.of(value), []);
  const levels = scalar(2 ** task.bits - 1);
  const sizes = stateSizes(layout);
  const fixed = await placeAll(programs, task.parameters);
  const state: Record<string, Tensor> = {};
  for (const [kind, data] of packState(layout, task.start)) {
    state[kind] = runtime.tensor(data, [data.length]);
    for (const moment of ['m', 'v'])
      state[`${kind}.${moment}`] = runtime.tensor(new Float32Array(data.length), [data.length]);
  }
  const losses: number[] = [];
  const steps = epochs * perEpoch;
  try {
    for (let epoch = 0; epoch < epochs; epoch++) {
      const order = createRandom(settings.seed, 'order', ...task.path, epoch).shuffle(everySample(target));
      state.losses = runtime.tensor(new Float32Array(1), [1]);
      for (let s = 0; s < perEpoch; s++) {
        if (hooks.signal.aborted) throw new CancelledError();
        const step = epoch * perEpoch + s;
        const picked = order.slice(s * batch, (s + 1) * batch);
        target.read(picked, y);
        const feeds: Record<string, Tensor> = {
          ...fixed,
          ...state,
          ...tensorsOfBatch(runtime, window, reader.read(picked), batch),
          levels,
          y: runtime.tensor(y, window.outputShape(batch)),
        };
        for (const kind of sizes.keys()) {
          const { rate, correction } = adamScalars(settings.rates[kind] * (1 - step / steps), step + 1);
          feeds[`rate.${kind}`] = scalar(rate);
          feeds.correction = scalar(correction);
        }
        const outputs = await program.run(feeds);
        for (const name of Object.keys(state)) {
          state[name]!.dispose();
          state[name] = outputs[`next.${name}`]!;
        }
        hooks.onStep((step + 1) / steps, losses.at(-1));
      }
      const [sum] = await runtime.read(state.losses);
      state.losses.dispose();
      delete state.losses;
      losses.push(sum! / perEpoch);
      if (!Number.isFinite(sum))
        throw new UserError(
          `${window.prefix.replace(/\.$/, '')}: the loss became NaN in epoch ${epoch + 1}; lower --adapter-rate and --clip-rate, or try another device.`,
        );
    }
    const trained = new Map<Kind, Float32Array>();
    for (const kind of sizes.keys()) trained.set(kind, (await runtime.read(state[kind]!)).slice());
    return { layers: unpackState(layout, trained), losses };
  } finally {
    disposeAll({ ...fixed, ...state });
  }
}
