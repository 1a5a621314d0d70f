/** Evaluation of a language model: from paths to rows. */
import { encodeChoices } from '../data/text/choice-tokens.js';
import { holdsChoices, openChoices } from '../data/text/choices.js';
import { openText } from '../data/text/source.js';
import { openTokenizer, requireVocabulary, type TextTokenizer } from '../data/text/tokenizer.js';
import { evaluationWindows } from '../data/text/windows.js';
import { plainParts } from '../execution/part-by-part.js';
import { defaultCacheMemory } from '../execution/sample-store.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { LanguageModel } from '../models/model.js';
import type { EvaluateRequest, EvaluateResult } from '../protocol/protocol.js';
import type { Programs } from '../runtime/programs.js';
import { withDevice } from '../runtime/with-device.js';
import { planBaselines } from './baselines.js';
import { evaluateChoices, lengthsFor } from './choices.js';
import type { EvaluationJobHooks, Measured } from './evaluate.js';
import { evaluatePerplexity } from './perplexity.js';
import { fullHead, type EvaluationHooks, type TextCandidate } from './rows.js';
import { rowsOf, textCandidate, widthsOf, type NamedSet } from './sets.js';

export async function evaluateText(
  request: EvaluateRequest,
  checkpoint: Checkpoint,
  model: LanguageModel,
  sets: readonly NamedSet[],
  { signal, status, note }: EvaluationJobHooks,
): Promise<Measured> {
  const widths = widthsOf(request, sets);
  const tokenizer = await openTokenizer(checkpoint.folder);
  requireVocabulary(tokenizer, model.vocabulary);
  const task = request.task ?? ((await holdsChoices(request.data)) ? 'multiple-choice' : 'perplexity');
  const baselines = planBaselines(checkpoint, request, sets, widths);
  const evaluation = await (task === 'perplexity' ? openPerplexity : openMultipleChoice)(
    request,
    checkpoint,
    model,
    tokenizer,
  );
  try {
    return await withDevice(request, async (programs) => {
      const memory = request.cacheMemory ?? defaultCacheMemory();
      const work = baselines.work * model.tokens;
      const share = work / (work + (1 + widths.length * (1 + sets.length)) * evaluation.tokens);
      const compared = await baselines.open(programs, memory, {
        signal,
        note,
        status: (done) => status(done * share, []),
      });
      const full: TextCandidate = {
        ...fullHead(checkpoint),
        build: (built) => ({ model: built.model, open: plainParts(programs, built) }),
      };
      const candidates = [...compared, ...sets].flatMap((named) =>
        rowsOf(checkpoint, named, sets, widths).map((row) => textCandidate(programs, named, row)),
      );
      const rows = await evaluation.run(programs, [full, ...candidates], memory, {
        signal,
        status: (done, live) => status(share + (1 - share) * done, live),
      });
      const { name, skipped } = evaluation.source;
      return { device: programs.runtime.device, task, data: name, rows, skipped };
    });
  } finally {
    await baselines.close();
    await evaluation.close();
  }
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
