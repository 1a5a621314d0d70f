/** The export job: from an adapter set and the bits of its layers to what other tools read. */
import { realpath } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { UserError } from '../../errors.js';
import { openPlan } from '../../evaluation/plan-file.js';
import { layerNames, layerWeights } from '../../execution/model.js';
import { requireOffered } from '../../execution/source.js';
import type { Exporter } from '../../exporters/exporter.js';
import { exporterNamed, exporters } from '../../exporters/registry.js';
import { requireAbsent } from '../../formats/atomic.js';
import { placeOf, tryFile } from '../../formats/output.js';
import { fileError } from '../../formats/paths.js';
import { bytesAt } from '../../formats/sizes.js';
import { whileLocked } from '../../locks/lock.js';
import { openAdapterSet, openSource, requireMatch, type AdapterSet } from '../../methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { tied } from '../../plans/fused.js';
import { averageBits } from '../../plans/totals.js';
import type { ExportFit, ExportRequest, ExportResult } from '../../protocol/protocol.js';
import { withDevice } from '../../runtime/with-device.js';
import { announced } from '../announce.js';
import { exportAmounts } from '../forecasts/others.js';
import { peakMemory } from '../memory.js';
import type { JobHooks } from '../requests.js';
import { requireSpace } from './space.js';

/** @param known the formats there are */
export async function runExport(
  request: ExportRequest,
  hooks: JobHooks<'export'>,
  known: readonly Exporter[] = exporters,
): Promise<ExportResult> {
  const started = performance.now();
  const exporter = exporterNamed(request.format, known);
  const out = await outputOf(request);
  return whileLocked(out, async () => {
    await requireAbsent(out);
    await tryFile(out);
    return exportTo(out, exporter, request, hooks, started);
  });
}

async function exportTo(
  out: string,
  exporter: Exporter,
  request: ExportRequest,
  hooks: JobHooks<'export'>,
  started: number,
): Promise<ExportResult> {
  return withSet(request, async (checkpoint, set) => {
    checkpoint.warnings.forEach((line) => hooks.note(line));
    const written = await exportSet(request, exporter, checkpoint, set, out, hooks);
    const seconds = (performance.now() - started) / 1000;
    return { out, format: exporter.name, ...written, seconds, peakMemory: peakMemory() };
  });
}

/** Opens a model and its adapter set for `use`. Throws UserError where they do not fit. */
export async function withSet<T>(
  { model, adapters }: Pick<ExportRequest, 'model' | 'adapters'>,
  use: (original: Checkpoint, set: AdapterSet) => Promise<T>,
): Promise<T> {
  const checkpoint = await openCheckpoint(model);
  try {
    const set = await openAdapterSet(adapters);
    try {
      await requireMatch(checkpoint, set, adapters);
      return await use(checkpoint, set);
    } finally {
      await set.close();
    }
  } finally {
    await checkpoint.close();
  }
}

async function exportSet(
  request: ExportRequest,
  exporter: Exporter,
  original: Checkpoint,
  set: AdapterSet,
  out: string,
  hooks: JobHooks<'export'>,
): Promise<Pick<ExportResult, 'bits' | 'bytes' | 'device' | 'fits' | 'serve'>> {
  const { config } = set;
  const isAll = exporter.holdsAllBits === true && request.bits === undefined && request.plan === undefined;
  const asked = isAll ? { bits: config.offered[0]! } : request;
  const layers = await layerBits(asked, original, config.offered);
  const fits: ExportFit[] = [];
  return withDevice({ ...request, signal: hooks.signal }, async (programs) => {
    const context = {
      programs,
      original,
      source: openSource(programs, original, set),
      config,
      bitsOf: (layer: string) => layers.get(layer)!,
      hooks: {
        signal: hooks.signal,
        status: (done: number, phase: string) => hooks.status({ done: Math.min(1, done), phase }),
        fit: (fit: ExportFit) => fits.push(fit),
      },
    };
    const reason = exporter.refuse(context);
    if (reason !== undefined) throw new UserError(reason);
    const warning = exporter.warn?.(context);
    if (warning !== undefined) hooks.note(warning);
    const { bytes } = await exporter.size(context);
    await requireSpace(out, bytes);
    await announced({ ...request, device: programs.runtime.device }, hooks, () =>
      exportAmounts(original, bytes),
    );
    hooks.status({ done: 0, phase: 'reading the set' });
    await exporter.write(context, out);
    return {
      ...(!exporter.holdsAllBits && { bits: averageBits(layerWeights(original), [...layers.values()]) }),
      ...(fits.length > 0 && { fits }),
      bytes: await bytesAt(out),
      ...(exporter.serve && { serve: exporter.serve(context, out) }),
      device: programs.runtime.device,
    };
  });
}

/** The bits of every layer. Throws UserError for some that are not offered. */
export async function layerBits(
  { bits, plan, tie = false }: Pick<ExportRequest, 'bits' | 'plan' | 'tie'>,
  original: Checkpoint,
  offered: readonly number[],
): Promise<ReadonlyMap<string, number>> {
  if ((bits === undefined) === (plan === undefined))
    throw new UserError('An export needs either one bit-width or a precision plan.');
  const layers = layerNames(original);
  if (bits !== undefined) {
    requireOffered(offered, bits);
    return new Map(layers.map((name) => [name, bits]));
  }
  const { widths } = await openPlan(plan!, original, offered);
  const planned = new Map(layers.map((name) => [name, typeof widths === 'number' ? widths : widths(name)!]));
  return tie ? tied(planned) : planned;
}

/**
 * Where it is written, links of its folder followed. Throws UserError where that is taken or lies in the folder of the model
 * or the adapter set, of which it would become a part.
 */
async function outputOf({
  out,
  model,
  adapters,
}: Pick<ExportRequest, 'out' | 'model' | 'adapters'>): Promise<string> {
  if (out.trim() !== '') await requireAbsent(resolve(out));
  const place = await placeOf(out);
  for (const [folder, what] of [
    [model, 'model'],
    [adapters, 'adapter set'],
  ] as const) {
    const root = await realpath(folder).catch((error: unknown) => {
      throw fileError(error, 'read', folder);
    });
    if (place.startsWith(root + sep))
      throw new UserError(`${place} lies in the folder of the ${what}; choose a place outside of it.`);
  }
  return place;
}
