/** Evaluation of a language model: from paths to rows. */
import { encodeChoices } from '../../data/text/choice-tokens.js';
import { holdsChoices, openChoices } from '../../data/text/choices.js';
import { openText } from '../../data/text/source.js';
import { openTokenizer, type TextTokenizer } from '../../data/text/tokenizer.js';
import { evaluationWindows } from '../../data/text/windows.js';
import { UserError } from '../../errors.js';
import { evaluateChoices, lengthsFor } from '../../evaluation/choices.js';
import type { Candidate, Evaluation, Measured } from '../../evaluation/evaluate.js';
import { openCompared } from '../../evaluation/compared.js';
import { evaluatePerplexity } from '../../evaluation/perplexity.js';
import { exportedText } from '../../evaluation/exported.js';
import {
  fullHead,
  rowOf,
  type EvaluationHooks,
  type OwnCandidate,
  type TextCandidates,
} from '../../evaluation/rows.js';
import { rowsOf, textCandidate } from '../../evaluation/sets.js';
import type { RunnableModel } from '../../execution/model.js';
import { plainParts } from '../../execution/part-by-part.js';
import { defaultCacheMemory } from '../../execution/sample-store.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import type { LanguageModel } from '../../models/model.js';
import type { EvaluateRequest, EvaluateResult } from '../../protocol/protocol.js';
import type { Programs } from '../../runtime/programs.js';
import { withDevice } from '../../runtime/with-device.js';
import type { MeasuredRows } from '../task.js';

export async function evaluateText(asked: Evaluation<LanguageModel>): Promise<Measured> {
  const { request, checkpoint, sets, widths, exports, hooks } = asked;
  const { signal } = hooks;
  const { model } = checkpoint;
  const tokenizer = await openTokenizer(checkpoint.folder, { vocabulary: model.vocabulary, signal });
  const task = request.task ?? ((await holdsChoices(request.data)) ? 'multiple-choice' : 'perplexity');
  const evaluation = await (task === 'perplexity' ? openPerplexity : openMultipleChoice)(
    request,
    checkpoint,
    tokenizer,
    signal,
  );
  try {
    return await withDevice({ ...request, signal }, async (programs) => {
      const compared = await openCompared(programs, asked, evaluation.tokens, model.tokens);
      const full: OwnCandidate = {
        ...fullHead(checkpoint),
        build: (built) => ({ model: built.model, open: plainParts(programs, built) }),
      };
      const candidates = compared.sets.flatMap((named) =>
        rowsOf(checkpoint, named, sets, widths).map((row) => textCandidate(programs, named, row)),
      );
      const files = exports.map((one) => exportedText(programs, one));
      const all: TextCandidates = [full, ...candidates, ...files];
      const rows = await evaluation.run(programs, all, compared.memory, compared.hooks);
      const { name, skipped } = evaluation.source;
      return { device: programs.runtime.device, task, data: name, rows, skipped };
    });
  } finally {
    await evaluation.close();
  }
}

/** An evaluation set that is open, and what is done with it. */
interface OpenSet {
  /** Its name, and what reading has left out so far. */
  readonly source: { readonly name: string; readonly skipped: EvaluateResult['skipped'] };
  /** Tokens that a candidate reads. */
  readonly tokens: number;
  run(
    programs: Programs,
    candidates: TextCandidates,
    memory: number,
    hooks: EvaluationHooks,
  ): Promise<EvaluateResult['rows']>;
  close(): Promise<void>;
}

async function openPerplexity(
  { data, limit }: EvaluateRequest,
  checkpoint: Checkpoint<LanguageModel>,
  tokenizer: TextTokenizer,
  signal: AbortSignal,
): Promise<OpenSet> {
  const source = await openText(data);
  const windows = await evaluationWindows(source, tokenizer, {
    length: checkpoint.model.tokens,
    ...(limit !== undefined && { limit }),
    signal,
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
  checkpoint: Checkpoint<LanguageModel>,
  tokenizer: TextTokenizer,
  signal: AbortSignal,
): Promise<OpenSet> {
  const { name, ...task } = await openChoices(data);
  const items = await encodeChoices({ name, ...task }, tokenizer, {
    length: length ?? checkpoint.model.context,
    limit,
    signal,
  });
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

/** The rows of a model, in full precision and at its plan: perplexity and divergence. */
export async function measureText(
  programs: Programs,
  checkpoint: Checkpoint<LanguageModel>,
  { full, plan }: { readonly full: RunnableModel; readonly plan: Candidate },
  { path, limit }: { readonly path: string; readonly limit?: number },
  hooks: EvaluationHooks,
): Promise<MeasuredRows> {
  if (await holdsChoices(path))
    throw new UserError(
      `${path} holds questions; a session measures perplexity. Use the command "evaluate".`,
    );
  const { vocabulary } = checkpoint.model;
  const tokenizer = await openTokenizer(checkpoint.folder, { vocabulary, signal: hooks.signal });
  const windows = await evaluationWindows(await openText(path), tokenizer, {
    length: checkpoint.model.tokens,
    ...(limit !== undefined && { limit }),
    signal: hooks.signal,
  });
  const texts: TextCandidates = [
    { ...fullHead(checkpoint), build: () => full },
    { ...rowOf(plan), build: () => plan.model },
  ];
  const memory = { memory: defaultCacheMemory() };
  const rows = await evaluatePerplexity(programs, checkpoint, texts, windows, memory, hooks);
  return { full: rows[0]!, plan: rows[1]! };
}
