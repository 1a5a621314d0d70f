/** Evaluation of a language model: from paths to rows. */
import { defaultCacheMemory } from '../execution/sample-store.js';
import { encodeChoices } from '../data/text/choice-tokens.js';
import { holdsChoices, openChoices } from '../data/text/choices.js';
import { openText } from '../data/text/source.js';
import { openTokenizer, requireVocabulary, type TextTokenizer } from '../data/text/tokenizer.js';
import { evaluationWindows } from '../data/text/windows.js';
import { evaluateChoices, lengthsFor } from './choices.js';
import { evaluatePerplexity } from './perplexity.js';
import type { EvaluationHooks, TextCandidate } from './rows.js';
import { fullHead, quantizedBytes } from '../quantized/size.js';
import { bitsOf } from '../formats/adapter-set.js';
import { layersOf } from '../methods/quept/calibrate.js';
import {
  elasticParts,
  rotatedFor,
  tensorsOf,
  type Adapters,
  type Widths,
} from '../execution/quantized-model.js';
import { bitGroups, PAPER_TEXT } from '../methods/quept/options.js';
import { plainParts } from '../execution/part-by-part.js';
import { roundTokens, roundWeights } from '../methods/rounding/rounding.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { LanguageModel } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { withDevice } from '../jobs/device.js';
import { baselineWidths, planLabel, widthsOf, type NamedSet } from '../jobs/evaluated-sets.js';
import { openGptq, readCalibration } from '../jobs/gptq-baseline.js';
import type { NamedPlan } from '../jobs/plan-file.js';
import type { EvaluateHooks } from '../jobs/requests.js';
import type { EvaluateRequest, EvaluateResult } from '../protocol/protocol.js';

export async function evaluateText(
  request: EvaluateRequest,
  checkpoint: Checkpoint,
  model: LanguageModel,
  sets: readonly NamedSet[],
  hooks: EvaluateHooks,
): Promise<Omit<EvaluateResult, 'seconds' | 'peakMemory'>> {
  const widths = widthsOf(request, sets);
  const rounded = baselineWidths(widths);
  const tokenizer = await openTokenizer(checkpoint.folder);
  requireVocabulary(tokenizer, model.vocabulary);
  const task = request.task ?? ((await holdsChoices(request.data)) ? 'multiple-choice' : 'perplexity');
  const calibration = request.baseline?.includes('gptq')
    ? await readCalibration(request, checkpoint, tokenizer, sets)
    : undefined;
  const evaluation = await (task === 'perplexity' ? openPerplexity : openMultipleChoice)(
    request,
    checkpoint,
    model,
    tokenizer,
  );
  try {
    return await withDevice(request, async (programs) => {
      const own = elasticCandidates(programs, checkpoint, request, sets, widths);
      const memory = request.cacheMemory ?? defaultCacheMemory();
      // A pass of GPTQ over the calibration set for each group of layers, one of evaluation over the evaluation set.
      const work = calibration ? rounded.length * calibration.tokens * 5 : 0;
      const all =
        work +
        (1 + own.rounding.length + own.adapters.length + (calibration ? rounded.length : 0)) *
          evaluation.tokens;
      const gptq =
        calibration &&
        (await openGptq(programs, checkpoint, calibration, rounded, memory, {
          signal: hooks.signal,
          note: (line) => hooks.note(line),
          status: (done) => hooks.status({ done: (done * work) / all, rows: [] }),
        }));
      try {
        const candidates = [own.full, ...own.rounding, ...(gptq?.candidates ?? []), ...own.adapters];
        const rows = await evaluation.run(programs, candidates, memory, {
          signal: hooks.signal,
          status: (done, live) => hooks.status({ done: (work + done * (all - work)) / all, rows: live }),
        });
        const { name, skipped } = evaluation.source;
        return { device: programs.runtime.device, task, data: name, rows, skipped };
      } finally {
        await gptq?.close();
      }
    });
  } finally {
    await evaluation.close();
  }
}

/** Full precision, the baselines that only round where they were asked for, and the adapter sets. */
function elasticCandidates(
  programs: Programs,
  checkpoint: Checkpoint,
  request: EvaluateRequest,
  sets: readonly NamedSet[],
  widths: readonly number[],
) {
  const full: TextCandidate = {
    ...fullHead(checkpoint),
    build: (built) => ({ model: built.model, open: plainParts(programs, built) }),
  };
  const elastic = (
    label: string,
    kind: TextCandidate['kind'],
    { config, tensors }: Adapters,
    plans: readonly NamedPlan[] = [],
  ) => {
    const candidate = (name: string, bits: number, own: Widths): TextCandidate => ({
      ...{ label: name, kind, bits, bytes: quantizedBytes(checkpoint, config, own) },
      build: (built) => {
        const rotated = rotatedFor(programs, built, config);
        const parts = elasticParts(programs, rotated, config, (part) => tensorsOf(tensors, part));
        return { model: rotated.model, open: parts(own) };
      },
    });
    return [
      ...widths.filter((bits) => bitsOf(config).includes(bits)).map((bits) => candidate(label, bits, bits)),
      ...plans.map((plan) => candidate(planLabel(label, plan, sets), plan.bits, plan.widths)),
    ];
  };
  const rounding = request.baseline?.includes('rtn')
    ? roundText(checkpoint, baselineWidths(widths), sets)
    : [];
  return {
    full,
    rounding: rounding.flatMap(({ label, adapters }) => elastic(label, 'rounding', adapters)),
    adapters: sets.flatMap(({ label, set, plans }) => elastic(label, 'adapters', set, plans)),
  };
}

interface Rounding {
  readonly label: string;
  readonly adapters: Adapters;
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
  const rounded = { label: 'rounding', adapters: roundWeights(widths, layers(PAPER_TEXT.groupSize)) };
  if (!both) return [rounded];
  const { rotation, ...plain } = both;
  return [
    ...(alone ? [{ ...rounded, label: 'rounding, weights alone' }] : []),
    { label: 'rounding', adapters: roundTokens(widths, layers(-1), plain) },
    ...(rotation ? [{ label: 'rounding, rotated', adapters: roundTokens(widths, layers(-1), both) }] : []),
  ];
}

/** An evaluation set that is open, and what is done with it. */
interface Evaluation {
  /** Its name, and what reading has left out so far. */
  readonly source: { readonly name: string; readonly skipped: EvaluateResult['skipped'] };
  /** Tokens that a candidate reads. */
  readonly tokens: number;
  run(
    programs: Programs,
    candidates: readonly TextCandidate[],
    memory: number,
    hooks: EvaluationHooks,
  ): Promise<EvaluateResult['rows']>;
  close(): Promise<void>;
}

async function openPerplexity(
  { data, limit }: EvaluateRequest,
  checkpoint: Checkpoint,
  model: LanguageModel,
  tokenizer: TextTokenizer,
): Promise<Evaluation> {
  const source = await openText(data);
  const windows = await evaluationWindows(source, tokenizer, {
    length: model.tokens,
    ...(limit !== undefined && { limit }),
  });
  return {
    source,
    tokens: windows.count * windows.length,
    run: (programs, candidates, memory, hooks) =>
      evaluatePerplexity(programs, checkpoint, candidates, windows, { memory }, hooks),
    close: () => Promise.resolve(),
  };
}

async function openMultipleChoice(
  { data, limit, length }: EvaluateRequest,
  checkpoint: Checkpoint,
  model: LanguageModel,
  tokenizer: TextTokenizer,
): Promise<Evaluation> {
  const { name, ...task } = await openChoices(data);
  const items = encodeChoices({ name, ...task }, tokenizer, { length: length ?? model.context, limit });
  const lengths = lengthsFor(items);
  const checkpoints: Checkpoint[] = [];
  const close = async () => {
    for (const built of checkpoints) await built.close();
  };
  try {
    for (const tokens of lengths) checkpoints.push(await openCheckpoint(checkpoint.folder, { tokens }));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    source: { name, skipped: [] },
    tokens: items.reduce((sum, { texts }) => texts.reduce((all, { ids }) => all + ids.length, sum), 0),
    run: (programs, candidates, memory, hooks) =>
      evaluateChoices(programs, checkpoints, candidates, items, { memory }, hooks),
    close,
  };
}
