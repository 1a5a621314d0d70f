/** The evaluate job: full precision, baselines and adapter sets on one evaluation set. */
import { basename, resolve } from 'node:path';
import { openImages, selectFirst, type ImageSource } from '../data/images.js';
import { readPreprocessor, type Preprocessor } from '../data/preprocessor.js';
import { openText } from '../data/text/source.js';
import { openTokenizer, requireVocabulary } from '../data/text/tokenizer.js';
import { evaluationWindows } from '../data/text/windows.js';
import { UserError } from '../errors.js';
import { evaluateClassifier, type Candidate } from '../evaluation/evaluate.js';
import { evaluatePerplexity } from '../evaluation/perplexity.js';
import { quantizedBytes } from '../evaluation/size.js';
import { bitsOf, readAdapterSet, type AdapterSet } from '../formats/adapter-set.js';
import { layersOf } from '../methods/quept/calibrate.js';
import {
  openElasticModel,
  openPlainModel,
  requireMatch,
  type Adapters,
} from '../methods/quept/elastic-model.js';
import { bitGroups, PAPER_TEXT, PAPER_VIT } from '../methods/quept/options.js';
import { roundTokens, roundToNearest, roundWeights } from '../methods/quept/rounding.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { LanguageModel, VisionModel } from '../models/model.js';
import { chooseDevice } from '../runtime/devices.js';
import { openPrograms, type Programs } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import type { EvaluateRequest, EvaluateResult, JobHooks } from './requests.js';

/** The label of the baseline's rows. */
export const ROUNDING = 'rounding';

export async function runEvaluate(
  request: EvaluateRequest,
  hooks: JobHooks<'evaluate'>,
): Promise<EvaluateResult> {
  const started = performance.now();
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  try {
    const { model } = checkpoint;
    const sets = await readAdapterSets(checkpoint, request);
    const evaluation =
      model.task === 'text-generation'
        ? await openPerplexity(request, checkpoint, model)
        : await openClassification(request, checkpoint, model);
    const device = await chooseDevice(request.device ?? 'auto');
    const runtime = openRuntime(device, request.threads);
    const programs = openPrograms(runtime);
    try {
      const rows = await evaluation.run(programs, await openCandidates(), hooks);
      return {
        device,
        task: evaluation.task,
        data: evaluation.source.name,
        rows,
        skipped: evaluation.source.skipped,
        seconds: (performance.now() - started) / 1000,
      };
    } finally {
      await programs.release();
      await runtime.dispose();
    }

    async function openCandidates(): Promise<Candidate[]> {
      const widths = widthsOf(request, sets);
      const open = async (label: string, kind: Candidate['kind'], adapters: Adapters) => {
        const opened = await openElasticModel(programs, checkpoint, adapters);
        return widths
          .filter((bits) => opened.bits.includes(bits))
          .map((bits) => ({
            ...{ label, kind, bits, model: opened },
            bytes: quantizedBytes(checkpoint, adapters.config, bits),
          }));
      };
      const candidates: Candidate[] = [];
      for (const baseline of request.baseline ?? [])
        switch (baseline) {
          case 'rtn':
            for (const { label, adapters } of await evaluation.rounding(programs, widths, sets))
              candidates.push(...(await open(label, 'rounding', adapters)));
        }
      for (const { label, set } of sets) candidates.push(...(await open(label, 'adapters', set)));
      return candidates;
    }
  } finally {
    await checkpoint.close();
  }
}

interface NamedSet {
  readonly label: string;
  readonly set: AdapterSet;
}

/** Throws UserError for a set of another model, or one that lacks a bit-width asked for. */
async function readAdapterSets(checkpoint: Checkpoint, request: EvaluateRequest): Promise<NamedSet[]> {
  const sets: NamedSet[] = [];
  for (const folder of request.adapters ?? []) {
    const set = await readAdapterSet(folder);
    await requireMatch(checkpoint, set, folder);
    const own = bitsOf(set.config);
    for (const bits of request.bits ?? [])
      if (!own.includes(bits))
        throw new UserError(`${folder} has no ${bits}-bit setting; it has ${own.join(', ')}.`);
    sets.push({ label: basename(resolve(folder)), set });
  }
  return sets;
}

/** The bit-widths asked for, or all of the adapter sets, from high to low. */
function widthsOf(request: EvaluateRequest, sets: readonly NamedSet[]): number[] {
  const asked = request.bits ?? sets.flatMap(({ set }) => bitsOf(set.config));
  const widths = [...new Set(asked)].sort((a, b) => b - a);
  if (request.baseline?.length && widths.length === 0)
    throw new UserError('Say which bit-widths to evaluate, such as --bits 8,4.');
  return widths;
}

interface Rounding {
  readonly label: string;
  readonly adapters: Adapters;
}

/** An evaluation set that is open, and what is done with it. */
interface Evaluation extends Pick<EvaluateResult, 'task'> {
  /** Its name, and what reading has left out so far. */
  readonly source: { readonly name: string; readonly skipped: EvaluateResult['skipped'] };
  /** The baselines that only round, for the kinds of adapter sets at hand. */
  rounding(
    programs: Programs,
    widths: readonly number[],
    sets: readonly NamedSet[],
  ): Promise<readonly Rounding[]>;
  run(
    programs: Programs,
    candidates: readonly Candidate[],
    hooks: JobHooks<'evaluate'>,
  ): Promise<EvaluateResult['rows']>;
}

async function openClassification(
  request: EvaluateRequest,
  checkpoint: Checkpoint,
  { image }: VisionModel,
): Promise<Evaluation> {
  const preprocessor = await readPreprocessor(checkpoint.folder, {
    channels: image.channels,
    imageSize: image,
  });
  const source = await openImages(request.data);
  const indices = selectFirst(source, request.limit ?? source.length);
  return {
    task: 'image-classification',
    source,
    rounding: async (programs, widths) => {
      const ranges = request.baselineData === undefined ? source : await openImages(request.baselineData);
      const { pixels, count } = await firstPictures(ranges, PAPER_VIT.rangeSamples, preprocessor);
      const adapters = await roundToNearest(programs, checkpoint, pixels, count, widths);
      return [{ label: ROUNDING, adapters }];
    },
    run: async (programs, candidates, hooks) =>
      evaluateClassifier(
        programs.runtime,
        checkpoint,
        await openPlainModel(programs, checkpoint),
        candidates,
        { source, indices, preprocessor },
        { signal: hooks.signal, status: (done, rows) => hooks.status({ done, rows }) },
      ),
  };
}

/** Throws UserError where none of them can be read. */
async function firstPictures(source: ImageSource, count: number, preprocessor: Preprocessor) {
  const indices = selectFirst(source, count);
  for await (const batch of source.batches(indices, indices.length, preprocessor)) return batch;
  throw new UserError(`${source.name}: no picture could be read.`);
}

async function openPerplexity(
  request: EvaluateRequest,
  checkpoint: Checkpoint,
  model: LanguageModel,
): Promise<Evaluation> {
  const tokenizer = await openTokenizer(checkpoint.folder);
  requireVocabulary(tokenizer, model.vocabulary);
  const source = await openText(request.data);
  const windows = await evaluationWindows(source, tokenizer, {
    length: model.tokens,
    ...(request.limit !== undefined && { limit: request.limit }),
  });
  return {
    task: 'perplexity',
    source,
    rounding: (_programs, widths, sets) => Promise.resolve(roundText(checkpoint, widths, sets)),
    run: async (programs, candidates, hooks) =>
      evaluatePerplexity(
        programs,
        checkpoint,
        await openPlainModel(programs, checkpoint),
        candidates,
        windows,
        { signal: hooks.signal, status: (done, rows) => hooks.status({ done, rows }) },
      ),
  };
}

/**
 * Weights alone where there is no set or one of that mode; weights and activations where there is one of both, as that
 * set has them: with rotation, and without to tell what it does.
 */
function roundText(
  checkpoint: Checkpoint,
  widths: readonly number[],
  sets: readonly NamedSet[],
): readonly Rounding[] {
  const layers = (groupSize: number) =>
    layersOf(checkpoint, { groups: bitGroups(widths.map((b) => [b])), groupSize });
  const both = sets.find(({ set }) => set.config.mode === 'weight-activation')?.set.config;
  const alone = sets.length === 0 || sets.some(({ set }) => set.config.mode === 'weight-only');
  const rounded = { label: ROUNDING, adapters: roundWeights(widths, layers(PAPER_TEXT.groupSize)) };
  if (!both) return [rounded];
  const { rotation, ...plain } = both;
  return [
    ...(alone ? [{ ...rounded, label: `${ROUNDING}, weights alone` }] : []),
    { label: ROUNDING, adapters: roundTokens(widths, layers(-1), plain) },
    ...(rotation ? [{ label: `${ROUNDING}, rotated`, adapters: roundTokens(widths, layers(-1), both) }] : []),
  ];
}
