/** Exported files among the rows of an evaluation: each as its runtime runs it. */
import { UserError } from '../errors.js';
import { openPlainModel } from '../execution/model.js';
import { plainParts } from '../execution/part-by-part.js';
import { openElasticModel, quantizedParts, type Widths } from '../execution/quantized-model.js';
import { requireOffered } from '../execution/source.js';
import { openSource } from '../methods/sets.js';
import { withWeights, type Checkpoint } from '../models/checkpoint.js';
import type { VisionModel } from '../models/model.js';
import type { RowHead, VerifiedExport } from '../protocol/protocol.js';
import type { Programs } from '../runtime/programs.js';
import { openExported, type Exported } from '../verification/exported.js';
import type { PictureCandidate } from './pictures.js';
import type { TextCandidate } from './rows.js';
import type { NamedSet } from './sets.js';

/** A file that was exported, open, and the bits of its layers. */
export interface NamedExport {
  readonly head: RowHead & { readonly bits: number };
  readonly widths: Widths;
  readonly file: Exported;
}

/**
 * Opens files that were exported of a set; the caller closes them.
 * Throws UserError as `openExported`, and where there is no one set that they are of.
 */
export async function openExports(
  checkpoint: Checkpoint,
  files: readonly VerifiedExport[],
  sets: readonly NamedSet[],
  threads: number | undefined,
): Promise<NamedExport[]> {
  const [set, ...others] = sets;
  if (files.length > 0 && (!set || others.length > 0))
    throw new UserError('Exports are verified beside the one adapter set that they came of; name it.');
  const opened: NamedExport[] = [];
  try {
    for (const file of files) {
      const { bits, widths } = widthsOfExport(file, set!);
      const exported = await openExported(file.path, checkpoint, threads);
      const { label, runtime, bytes } = exported;
      opened.push({ head: { label, kind: 'exported', runtime, bits, bytes }, widths, file: exported });
      if (exported.content.kind === 'elastic' && typeof widths === 'number')
        requireOffered(exported.content.set.config.offered, widths);
    }
    return opened;
  } catch (error) {
    await closeExports(opened);
    throw error;
  }
}

export async function closeExports(exports: readonly NamedExport[]): Promise<void> {
  for (const { file } of exports) await file.close();
}

/** The bits of an export's layers; the set's plans have all that exports name. */
function widthsOfExport(
  { bits, plan, tie = false }: VerifiedExport,
  { plans }: NamedSet,
): { readonly bits: number; readonly widths: Widths } {
  if (bits !== undefined) return { bits, widths: bits };
  return plans.find((one) => one.path === plan && one.tie === tie)!;
}

/** An exported language model as a row to be. */
export function exportedText(programs: Programs, { head, widths, file }: NamedExport): TextCandidate {
  const { content } = file;
  if (content.kind === 'foreign')
    return { ...head, start: (tokens, signal) => content.start(tokens, signal) };
  return {
    ...head,
    build: (built) => {
      const own = withWeights(built, content.source);
      if (content.kind === 'weights') return { model: own.model, open: plainParts(programs, own) };
      const source = openSource(programs, own, content.set);
      return { model: source.checkpoint.model, open: quantizedParts(programs, source, widths) };
    },
  };
}

/** An exported classifier, running until `signal` is aborted or it is closed. */
export async function exportedPictures(
  programs: Programs,
  checkpoint: Checkpoint<VisionModel>,
  { head, widths, file }: NamedExport,
  signal: AbortSignal,
): Promise<PictureCandidate & { close(): void }> {
  const { content } = file;
  const row = { ...head, widths };
  const fixed = { use: () => Promise.resolve(0) };
  if (content.kind === 'foreign') {
    const running = await content.start(1, signal);
    const { channels, height, width } = checkpoint.model.image;
    const run: PictureCandidate['model']['run'] = async (inputs, batch) =>
      running.pictures(await programs.runtime.read(inputs), [batch, channels, height, width]);
    return { ...row, model: { ...fixed, run }, close: () => running.close() };
  }
  const own = withWeights(checkpoint, content.source);
  const model =
    content.kind === 'weights'
      ? { ...(await openPlainModel(programs, own)), ...fixed }
      : await openElasticModel(programs, openSource(programs, own, content.set));
  return { ...row, model, close: () => model.dispose() };
}
