/** Reconstruction of one block: the loop around the step graph (docs/METHOD.md, section 4). */
import { createRandom, type Random } from '../../data/random.js';
import { batchReader, tensorsOfBatch, type PartBatch } from '../../execution/batches.js';
import {
  everySample,
  NO_SOURCES,
  type Samples,
  type SampleSource,
  type Sources,
} from '../../execution/sample-store.js';
import { CancelledError, UserError } from '../../errors.js';
import { adamScalars } from '../../graph/optimizers.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Runtime, Tensor } from '../../runtime/session.js';
import type { AdapterLayout } from './adapters.js';
import { disposeAll, placeAll } from '../../execution/part.js';
import { seenOf, type QueptOptions } from './options.js';
import { type NamedTensors } from '../../execution/tensors.js';
import { packState, stateTensors, unpackState, type FlatState } from './state.js';
import { drawnInputs, lossGraph, stepGraph, type StepOptions } from './step.js';
import { stopsOf, trainedFrom, type StopState } from './stops.js';

/** Everything the rest of a reconstruction depends on, after a whole number of epochs. */
export interface Snapshot {
  readonly epoch: number;
  /** State tensors and their moments, `.m` and `.v`. */
  readonly state: FlatState;
  /** Mean loss of each bit group in the first and in the latest epoch. */
  readonly first: readonly number[];
  readonly last: readonly number[];
  /** Where some groups may have stopped. */
  readonly stop?: StopState | undefined;
}

export interface Reconstruction {
  readonly part: Part;
  readonly layout: AdapterLayout;
  /** The folded parameters of the part. */
  readonly parameters: ReadonlyMap<string, HostTensor>;
  /** Starting values of all learned tensors, and zero points. */
  readonly start: NamedTensors;
  /** Quantized inputs, one store for all groups or one per group. */
  readonly streams: readonly SampleSource[];
  /** What feeds side ports, for each of these. */
  readonly sides?: readonly Sources[];
  /** Full-precision output of every sample. */
  readonly target: SampleSource;
  /** What its tokens count, where the options say that they are weighted. */
  readonly weights?: SampleSource | undefined;
  /** Names the streams of random numbers. */
  readonly block: string;
}

export interface ReconstructionHooks {
  readonly signal: AbortSignal;
  /**
   * After every step, and once more after an epoch; `epoch` counts whole epochs, losses are those of the latest, by group, as
   * shares of those of the block's first.
   */
  onStep(epoch: number, step: number, steps: number, losses: readonly number[] | undefined): void;
  /** After every epoch but the last. */
  save(snapshot: Snapshot): Promise<void>;
}

/** Learns the block's adapter tensors, from the start or from a snapshot; the result does not depend on which. */
export async function reconstruct(
  programs: Programs,
  task: Reconstruction,
  options: QueptOptions,
  hooks: ReconstructionHooks,
  from?: Snapshot,
): Promise<{ learned: NamedTensors; first: readonly number[]; last: readonly number[] }> {
  const { runtime } = programs;
  const { part, layout, streams, target } = task;
  const { samples } = target;
  const seen = seenOf(samples, options);
  const batch = Math.min(options.batch, seen);
  const stepsPerEpoch = Math.floor(seen / batch);
  const steps = stepsPerEpoch * options.epochs;
  const setting: StepOptions = {
    batch,
    loss: options.loss,
    apart: options.apart,
    ordinary: options.ordinary,
    weighted: task.weights !== undefined,
    ownStreams: streams.length > 1,
  };
  const everyGroup = [...layout.groups.keys()];

  const drawable = layout.groups.map(({ bits }, g) => bits.map((b) => drawn(g, b)));
  const outputShape = part.outputShape(batch);
  const fed = streams.map((x, g) => ({ x, side: task.sides?.[g] ?? NO_SOURCES }));
  const readers = fed.map((own, g) =>
    options.merge === 'drawn'
      ? drawingReader(part, fed.slice(0, g + 1), batch)
      : batchReader(part, own.x, own.side, batch).read,
  );
  const y = new Float32Array(batch * target.size);

  let state = placeState(runtime, layout, from?.state ?? packState(layout, task.start));
  const fixed = await placeAll(programs, task.parameters);
  const stops =
    seen < samples
      ? stopsOf(layout, options.apart, packState(layout, task.start), heldOutLoss, from?.stop)
      : undefined;
  let losses: Tensor | undefined;
  let { first, last } = { first: from?.first, last: from?.last };
  try {
    for (const { name, out } of layout.layers)
      fixed[`${name}.bias`] ??= await runtime.place(runtime.tensor(new Float32Array(out), [out]));
    for (let epoch = from?.epoch ?? 0; epoch < options.epochs; epoch++) {
      const live = stops?.live() ?? everyGroup;
      if (live.length === 0) break;
      const graph = stepGraph(part, layout, { ...setting, ...(stops && { live }) });
      const program = await programs.get(graph, `step ${part.kind} ×${batch}`);
      const mask = stops && { live: liveElements(stops.firstDirection()) };
      const order = createRandom(options.seed, 'order', task.block, epoch).shuffle(
        everySample({ samples: seen }),
      );
      const draws = createRandom(options.seed, 'bits', task.block, epoch);
      const sources = createRandom(options.seed, 'source', task.block, epoch);
      losses = runtime.tensor(new Float32Array(live.length), [live.length]);
      for (let s = 0; s < stepsPerEpoch; s++) {
        if (hooks.signal.aborted) throw new CancelledError();
        const t = epoch * stepsPerEpoch + s;
        const picked = order.slice(s * batch, (s + 1) * batch);
        target.read(picked, y);
        const feeds: Record<string, Tensor> = {
          ...fixed,
          ...state,
          ...mask,
          losses,
          y: runtime.tensor(y, outputShape),
          ...weightsOf(picked),
        };
        for (const [g, read] of readers.entries()) {
          if (streams.length > 1 && !live.includes(g)) continue;
          const suffix = streams.length > 1 ? `.${g}` : '';
          Object.assign(feeds, tensorsOfBatch(runtime, part, read(picked, sources), batch, suffix));
        }
        for (const bits of drawable) Object.assign(feeds, bits[draws.integer(bits.length)]);
        Object.assign(feeds, stepSizes(runtime, options, t, steps));

        const outputs = await program.run(feeds);
        losses.dispose();
        for (const name of Object.keys(state)) {
          const next = outputs[`next.${name}`];
          if (!next) continue;
          state[name]!.dispose();
          state[name] = next;
        }
        losses = outputs['next.losses']!;
        hooks.onStep(epoch, t + 1, steps, shares(last, first));
      }
      const means = [...(await runtime.read(losses))].map((sum) => sum / stepsPerEpoch);
      losses.dispose();
      const before = last;
      last = everyGroup.map((g) => (live.includes(g) ? means[live.indexOf(g)]! : before![g]!));
      // Also what a device that has run out of memory or was lost leaves behind.
      if (!last.every(Number.isFinite))
        throw new UserError(
          `${task.block.replace(/\.$/, '')}: the loss became NaN in epoch ${epoch + 1}; lower the learning rates, or try another device.`,
        );
      first ??= last;
      hooks.onStep(epoch + 1, (epoch + 1) * stepsPerEpoch, steps, shares(last, first));
      if (stops) await settle((flat) => stops.afterEpoch(flat));
      if (epoch + 1 < options.epochs)
        await hooks.save({
          epoch: epoch + 1,
          state: await readState(runtime, state),
          first,
          last,
          stop: stops?.snapshot(),
        });
    }
    if (stops) await settle((flat) => stops.atEnd(flat));
    const learned = unpackState(layout, await readState(runtime, state));
    return { learned, first: first!, last: last! };
  } finally {
    disposeAll({ ...fixed, ...state, ...(losses && { losses }) });
  }

  /** Goes on with what comes of the state where learning may stop. */
  async function settle(change: (flat: FlatState) => Promise<FlatState>): Promise<void> {
    const flat = await readState(runtime, state);
    const next = await change(flat);
    if (next === flat) return;
    disposeAll(state);
    state = placeState(runtime, layout, next);
  }

  function liveElements(first: number): Tensor {
    const mask = trainedFrom(layout, first);
    return runtime.tensor(mask, [mask.length]);
  }

  /**
   * How bad groups are on the samples held out: the sum over their bit-widths of the logarithm of the loss, so that each
   * counts in relation to itself.
   */
  async function heldOutLoss(flat: FlatState, groups: readonly number[]): Promise<number> {
    const held = everySample(target).slice(seen);
    const size = Math.min(batch, held.length);
    const placed = Object.fromEntries(
      stateTensors(layout).map(({ name, shape }) => [name, runtime.tensor(flat.get(name)!, shape)]),
    );
    let sum = 0;
    for (const g of groups) {
      const { x, side } = fed[streams.length > 1 ? g : 0]!;
      const { read } = batchReader(part, x, side, size);
      const suffix = streams.length > 1 ? `.${g}` : '';
      const graph = lossGraph(part, layout, { ...setting, batch: size }, g);
      const program = await programs.get(graph, `loss ${part.kind} ×${size}`);
      const own = [...graph.inputs.keys()].filter((name) => name in placed);
      for (const bits of drawable[g]!) {
        let loss = 0;
        for (let s = 0; s + size <= held.length; s += size) {
          const picked = held.slice(s, s + size);
          const outputs = await program.run({
            ...Object.fromEntries(own.map((name) => [name, placed[name]!])),
            ...fixed,
            ...tensorsOfBatch(runtime, part, read(picked), size, suffix),
            ...bits,
            y: runtime.tensor(readFrom(target, picked), part.outputShape(size)),
            ...weightsOf(picked),
          });
          loss += (await runtime.read(outputs.loss!))[0]!;
        }
        sum += Math.log(loss);
      }
    }
    return sum;
  }

  function weightsOf(picked: readonly number[]): Record<string, Tensor> {
    if (!task.weights) return {};
    const data = readFrom(task.weights, picked);
    return { weights: runtime.tensor(data, [data.length, 1]) };
  }

  function drawn(g: number, bits: number): Record<string, Tensor> {
    const zeroOf = (quantizer: string) => task.start.get(`${quantizer}.act_zero.${bits}`)!.data[0]!;
    const inputs = drawnInputs(layout, g, bits, zeroOf);
    return Object.fromEntries(
      [...inputs].map(([name, { data, shape }]) => [name, runtime.tensor(data, shape)]),
    );
  }
}

function readFrom(source: SampleSource, picked: readonly number[]): Float32Array {
  const data = new Float32Array(picked.length * source.size);
  source.read(picked, data);
  return data;
}

/** Where nothing was lost at first, nothing can be gained. */
const shares = (last: readonly number[] | undefined, first: readonly number[] | undefined) =>
  last?.map((loss, g) => (first![g] === 0 ? 1 : loss / first![g]!));

/** Reads batches of what a part does, each sample from one of the streams, drawn anew. */
function drawingReader(
  part: Part,
  streams: readonly { readonly x: Samples; readonly side: Sources }[],
  batch: number,
): (indices: readonly number[], random: Random) => PartBatch {
  let drawn: readonly number[] = [];
  const mixed = (sources: readonly Samples[]): Samples => {
    const { samples, size } = sources[0]!;
    return {
      samples,
      size,
      read: (indices: readonly number[], into: Float32Array) =>
        indices.forEach((index, i) =>
          (sources[drawn[i]!] as SampleSource).read([index], into.subarray(i * size, (i + 1) * size)),
        ),
    };
  };
  const side = [...streams[0]!.side.keys()].map(
    (name) => [name, mixed(streams.map((stream) => stream.side.get(name)!))] as const,
  );
  const reader = batchReader(part, mixed(streams.map(({ x }) => x)), new Map(side), batch);
  return (indices, random) => {
    drawn = indices.map(() => random.integer(streams.length));
    return reader.read(indices);
  };
}

/** Cosine decay over all steps, as Adam takes it. */
function stepSizes(
  runtime: Runtime,
  { rates, finalRate }: QueptOptions,
  step: number,
  steps: number,
): Record<string, Tensor> {
  const decay = finalRate + (1 - finalRate) * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
  const scalar = (x: number) => runtime.tensor(Float32Array.of(x), []);
  const feeds: Record<string, Tensor> = {};
  for (const kind of ['lora', 'clip', 'scale'] as const) {
    const { rate, correction } = adamScalars(rates[kind] * decay, step + 1);
    feeds[`rate.${kind}`] = scalar(rate);
    feeds.correction = scalar(correction);
  }
  return feeds;
}

function placeState(runtime: Runtime, layout: AdapterLayout, state: FlatState): Record<string, Tensor> {
  const tensors: Record<string, Tensor> = {};
  for (const { name, shape } of stateTensors(layout)) {
    const data = state.get(name)!;
    tensors[name] = runtime.tensor(data, shape);
    for (const moment of [`${name}.m`, `${name}.v`])
      tensors[moment] = runtime.tensor(state.get(moment) ?? new Float32Array(data.length), shape);
  }
  return tensors;
}

async function readState(runtime: Runtime, tensors: Readonly<Record<string, Tensor>>): Promise<FlatState> {
  const state: FlatState = new Map();
  for (const [name, tensor] of Object.entries(tensors)) state.set(name, await runtime.read(tensor));
  return state;
}
