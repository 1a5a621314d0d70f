/** The baseline GPTQ of an evaluation. */
import { openSampleCache, samplesIn, scratchFolder } from '../execution/sample-store.js';
import { openText } from '../data/text/source.js';
import type { TextTokenizer } from '../data/text/tokenizer.js';
import { readWindows } from '../data/text/windows.js';
import { UserError } from '../errors.js';
import type { TextCandidate } from '../evaluation/rows.js';
import { quantizedBytes } from '../quantized/size.js';
import { layersOf } from '../methods/quept/calibrate.js';
import { quantizeModel, type GptqHooks } from '../methods/gptq/model.js';
import { openWeightFiles, type WeightFiles } from '../methods/gptq/weight-files.js';
import { bitGroups, groupSizesOf, PAPER_TEXT } from '../methods/quept/options.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { inputSize } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { NamedSet } from './evaluated-sets.js';
import type { EvaluateRequest } from '../protocol/protocol.js';

export interface GptqCalibration {
  /** Token ids, windows of the model's length side by side. */
  readonly ids: BigInt64Array;
  readonly samples: number;
  readonly tokens: number;
}

/**
 * The first windows of the baseline's text: as many as were asked for, or as the first adapter set was calibrated on, or
 * as a calibration takes by default. Throws UserError where no text was named, or it is too short.
 */
export async function readCalibration(
  { baselineData, baselineSamples }: EvaluateRequest,
  { model }: Checkpoint,
  tokenizer: TextTokenizer,
  sets: readonly NamedSet[],
): Promise<GptqCalibration> {
  if (baselineData === undefined)
    throw new UserError('The baseline "gptq" needs text to calibrate on; name it with --baseline-data.');
  const count = baselineSamples ?? sets[0]?.set.config.calibration.samples ?? PAPER_TEXT.samples;
  const length = inputSize(model.stem);
  const { ids } = await readWindows(await openText(baselineData), tokenizer, { count, length });
  return { ids: BigInt64Array.from(ids, BigInt), samples: count, tokens: ids.length };
}

/** Quantizes the model at every bit-width. @param memory bytes for activations; what does not fit goes to a file */
export async function openGptq(
  programs: Programs,
  checkpoint: Checkpoint,
  { ids, samples }: GptqCalibration,
  widths: readonly number[],
  memory: number,
  { status, ...hooks }: GptqHooks,
): Promise<{ readonly candidates: readonly TextCandidate[]; close(): Promise<void> }> {
  const cache = await openSampleCache(memory);
  const candidates: TextCandidate[] = [];
  const opened: WeightFiles[] = [];
  const close = async () => {
    for (const files of opened) await files.remove();
  };
  try {
    for (const [i, bits] of widths.entries()) {
      const settings = { groups: bitGroups([[bits]]), groupSize: PAPER_TEXT.groupSize };
      const grid = { bits, groupSize: groupSizesOf(settings)[0]! };
      const files = openWeightFiles(scratchFolder(), grid);
      opened.push(files);
      const open = await quantizeModel(programs, checkpoint, samplesIn(ids, samples), grid, cache, files, {
        ...hooks,
        status: (done) => status((i + done) / widths.length),
      });
      const config = {
        embedding_bits: PAPER_TEXT.embeddingBits,
        head_bits: PAPER_TEXT.headBits,
        layers: layersOf(checkpoint, settings),
      };
      candidates.push({
        ...{ label: 'gptq', kind: 'gptq', bits, bytes: quantizedBytes(checkpoint, config, bits) },
        build: (built) => ({ model: built.model, open: open(built) }),
      });
    }
    return { candidates, close };
  } catch (error) {
    await close();
    throw error;
  } finally {
    cache.close();
  }
}
