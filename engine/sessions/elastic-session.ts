/** A model open with its adapter set, beside itself in full precision: switched, asked and measured. */
import { Buffer } from 'node:buffer';
import { defaultCacheMemory } from '../execution/sample-store.js';
import { decodeImage } from '../data/decode.js';
import { openImages } from '../data/images.js';
import { readPreprocessor } from '../data/preprocessor.js';
import { selectFirst } from '../data/select.js';
import { holdsChoices } from '../data/text/choices.js';
import { openText } from '../data/text/source.js';
import { openTokenizer, requireVocabulary } from '../data/text/tokenizer.js';
import { evaluationWindows } from '../data/text/windows.js';
import { UserError } from '../errors.js';
import { SHORTEST } from '../evaluation/choices.js';
import { evaluatePerplexity } from '../evaluation/perplexity.js';
import { evaluateClassifier } from '../evaluation/pictures.js';
import { fullHead, type EvaluationHooks } from '../evaluation/rows.js';
import { quantizedBytes } from '../quantized/size.js';
import { layerNames, openPlainModel, type RunnableModel } from '../execution/model.js';
import { openElasticModel, widthsOf, type ElasticModel } from '../execution/quantized-model.js';
import { openAdapterSet, openSource, requireMatch } from '../methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { LanguageModel, VisionModel } from '../models/model.js';
import type { EvaluationRow, Prediction, PredictParams } from '../protocol/protocol.js';
import type { Programs } from '../runtime/programs.js';

export interface ElasticSession {
  /** @param bits of each layer; resolves to how many layers had to change */
  use(bits: readonly number[]): Promise<number>;
  predict(
    input: PredictParams['input'],
    signal: AbortSignal,
  ): Promise<{ plan: Prediction; full: Prediction }>;
  /** The model at its present plan. */
  evaluate(data: string, limit: number | undefined, hooks: EvaluationHooks): Promise<EvaluationRow>;
  close(): Promise<void>;
}

type Predict = (
  input: PredictParams['input'],
  model: RunnableModel,
  signal: AbortSignal,
) => Promise<Prediction>;

/** At the highest bit-width to begin with. Throws UserError where the set is not the model's. */
export async function openElasticSession(
  programs: Programs,
  folder: string,
  adapters: string,
): Promise<ElasticSession> {
  const checkpoint = await openCheckpoint(folder);
  try {
    const set = await openAdapterSet(adapters);
    try {
      await requireMatch(checkpoint, set, adapters);
      const source = openSource(programs, checkpoint, set);
      const elastic = await openElasticModel(programs, source, defaultCacheMemory() / 2);
      const full = await openPlainModel(programs, checkpoint);
      const layers = layerNames(checkpoint);
      let bits: readonly number[] = layers.map(() => elastic.bits[0]!);
      await elastic.use(widthsOf(layers, bits));
      const predict = await predictor(programs, checkpoint);
      return {
        use: async (next) => {
          if (next.length !== layers.length)
            throw new UserError(`The model has ${layers.length} layers; bits were given for ${next.length}.`);
          const changed = await elastic.use(widthsOf(layers, next));
          bits = next;
          return changed;
        },
        predict: async (input, signal) => ({
          plan: await predict(input, elastic, signal),
          full: await predict(input, full, signal),
        }),
        evaluate: (data, limit, hooks) => {
          const widths = widthsOf(layers, bits);
          const candidate = {
            ...{ label: 'plan', kind: 'adapters' as const, widths, model: elastic },
            bits: bits.reduce((a, b) => a + b, 0) / bits.length,
            bytes: quantizedBytes(source, widths),
          };
          return evaluateAt(programs, checkpoint, full, candidate, { data, limit }, hooks);
        },
        close: async () => {
          elastic.dispose();
          full.dispose();
          await set.close();
          await checkpoint.close();
        },
      };
    } catch (error) {
      await set.close();
      throw error;
    }
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

const predictor = (programs: Programs, checkpoint: Checkpoint): Promise<Predict> =>
  checkpoint.model.task === 'image-classification'
    ? picturePredictor(programs, checkpoint, checkpoint.model)
    : textPredictor(programs, checkpoint, checkpoint.model);

/** Likeliest classes or tokens that are told. */
const SHOWN = 5;

async function picturePredictor(
  { runtime }: Programs,
  { folder }: Checkpoint,
  { image, classNames }: VisionModel,
): Promise<Predict> {
  const preprocessor = await readPreprocessor(folder, { channels: image.channels, imageSize: image });
  return async (input, model) => {
    if (!('picture' in input)) throw new UserError('The model classifies pictures; it was given a text.');
    const pixels = await decodeImage(Buffer.from(input.picture, 'base64'), preprocessor).catch(
      (error: unknown) => {
        throw error instanceof UserError
          ? new UserError(`The picture cannot be read: ${error.message}`, { cause: error })
          : error;
      },
    );
    const x = runtime.tensor(pixels, [1, image.channels, image.height, image.width]);
    const logits = await model.run(x, 1);
    return {
      classes: likeliest(logits).map(({ index, probability }) => ({
        label: classNames.get(index) ?? String(index),
        probability,
      })),
    };
  };
}

const DEFAULT_TOKENS = 16;

async function textPredictor(
  { runtime }: Programs,
  { folder }: Checkpoint,
  { tokens: length, vocabulary }: LanguageModel,
): Promise<Predict> {
  const tokenizer = await openTokenizer(folder);
  requireVocabulary(tokenizer, vocabulary);
  return async (input, model, signal) => {
    if (!('text' in input)) throw new UserError('The model continues texts; it was given a picture.');
    const ids = tokenizer.encode(input.text);
    if (ids.length === 0 && tokenizer.bos !== undefined) ids.push(tokenizer.bos);
    if (ids.length === 0) throw new UserError('The text is empty; type something to continue.');
    const start = ids.length;
    let first: ReturnType<typeof likeliest> | undefined;
    for (let added = 0; added < Math.max(1, input.tokens ?? DEFAULT_TOKENS); added++) {
      signal.throwIfAborted();
      const seen = ids.slice(-length);
      // What lies behind a token does not reach it: texts are filled up to a few lengths, each of which is compiled once.
      const filled = Math.min(length, Math.max(SHORTEST, 2 ** Math.ceil(Math.log2(seen.length))));
      const window = new BigInt64Array(filled);
      window.set(seen.map(BigInt));
      const logits = await model.row(runtime.tensor(window, [1, filled]), seen.length - 1);
      const found = likeliest(logits);
      first ??= found;
      if (input.tokens === 0 || found[0]!.index === tokenizer.eos) break;
      ids.push(found[0]!.index);
    }
    return {
      text: tokenizer.decode(ids.slice(start)),
      next: first!.map(({ index, probability }) => ({ token: tokenizer.decode([index]), probability })),
    };
  };
}

/** The most probable of the softmax of logits, in float64. */
function likeliest(logits: Float32Array): { readonly index: number; readonly probability: number }[] {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = logits.reduce((sum, x) => sum + Math.exp(x - largest), 0);
  const top: number[] = [];
  for (const [i, x] of logits.entries()) {
    if (top.length === SHOWN && x <= logits[top.at(-1)!]!) continue;
    const at = top.findIndex((j) => logits[j]! < x);
    top.splice(at < 0 ? top.length : at, 0, i);
    if (top.length > SHOWN) top.pop();
  }
  return top.map((index) => ({ index, probability: Math.exp(logits[index]! - largest) / total }));
}

interface Candidate {
  readonly label: string;
  readonly kind: 'adapters';
  readonly bits: number;
  readonly bytes: number;
  readonly widths: ReturnType<typeof widthsOf>;
  readonly model: ElasticModel;
}

async function evaluateAt(
  programs: Programs,
  checkpoint: Checkpoint,
  full: RunnableModel,
  candidate: Candidate,
  { data, limit }: { readonly data: string; readonly limit: number | undefined },
  hooks: EvaluationHooks,
): Promise<EvaluationRow> {
  const { model, folder } = checkpoint;
  if (model.task === 'image-classification') {
    const source = await openImages(data);
    const preprocessor = await readPreprocessor(folder, {
      channels: model.image.channels,
      imageSize: model.image,
    });
    const pictures = { source, indices: selectFirst(source, limit ?? source.length), preprocessor };
    const rows = await evaluateClassifier(programs.runtime, checkpoint, full, [candidate], pictures, hooks);
    return rows[1]!;
  }
  if (await holdsChoices(data))
    throw new UserError(
      `${data} holds questions; a session measures perplexity. Use the command "evaluate".`,
    );
  const tokenizer = await openTokenizer(folder);
  const windows = await evaluationWindows(await openText(data), tokenizer, {
    length: model.tokens,
    ...(limit !== undefined && { limit }),
  });
  const { label, kind, bits, bytes } = candidate;
  const texts = [
    { ...fullHead(checkpoint), build: () => full },
    { label, kind, bits, bytes, build: () => candidate.model },
  ];
  const memory = { memory: defaultCacheMemory() };
  const rows = await evaluatePerplexity(programs, checkpoint, texts, windows, memory, hooks);
  return rows[1]!;
}
