/** Finds checkpoint folders and says what they are. */
import { existsSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { refuseOtherFormats } from '../formats/other-formats.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { storedName } from '../models/listing.js';
import { blocksOf, partsOf, type Part } from '../models/model.js';
import type {
  BlockDescription,
  ModelDescription,
  ModelReport,
  SupportedModel,
  UnsupportedModel,
} from '../protocol/protocol.js';
import { checkpointBytes } from '../quantized/size.js';
import { walk } from './walk.js';

/** The checkpoints in folders and below, in the order of their paths; `found` hears of each at once. */
export async function listModels(
  folders: readonly string[],
  signal: AbortSignal,
  found: (model: ModelReport) => void = () => undefined,
): Promise<ModelReport[]> {
  const reports: ModelReport[] = [];
  const report = (model: ModelReport) => {
    reports.push(model);
    found(model);
  };
  for (const folder of folders) {
    const known = reports.length;
    const other = await otherFormatOf(folder);
    for await (const path of walk(resolve(folder), isCheckpoint, signal))
      report(await withCheckpoint(path, summarise));
    if (reports.length === known && other !== undefined)
      report({ path: resolve(folder), name: basename(resolve(folder)), supported: false, reason: other });
  }
  return reports;
}

/** What a folder holds instead of a checkpoint, where that can be named; throws it of what is not a folder. */
async function otherFormatOf(folder: string): Promise<string | undefined> {
  const refusal: unknown = await refuseOtherFormats(folder).catch((error: unknown) => error);
  if (!(refusal instanceof UserError)) return undefined;
  if (existsSync(folder) && statSync(folder).isDirectory()) return refusal.message;
  throw refusal;
}

/** A checkpoint's blocks and their layers, or why it is not supported. */
export const describeModel = (path: string): Promise<ModelDescription | UnsupportedModel> =>
  withCheckpoint(path, describe);

const isCheckpoint = (names: readonly string[]) =>
  names.includes('config.json') && names.some((n) => n.includes('safetensors') || n.endsWith('.bin'));

async function withCheckpoint<T>(
  path: string,
  read: (path: string, checkpoint: Checkpoint) => T,
): Promise<T | UnsupportedModel> {
  try {
    const checkpoint = await openCheckpoint(path);
    try {
      return read(path, checkpoint);
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const name = basename(path);
    const onlyPickles =
      existsSync(path) &&
      !existsSync(join(path, 'model.safetensors')) &&
      !existsSync(join(path, 'model.safetensors.index.json'));
    const reason = onlyPickles
      ? `${name} has no safetensors weights; other formats can run code and are not read.`
      : messageOf(error);
    return { path, name, supported: false, reason };
  }
}

const facts = (path: string, checkpoint: Checkpoint) => ({
  path,
  name: basename(path),
  supported: true as const,
  family: checkpoint.model.family,
  task: checkpoint.model.task,
  parameters: checkpoint.parameters,
  bytes: checkpointBytes(checkpoint),
  warnings: checkpoint.warnings,
});

const summarise = (path: string, checkpoint: Checkpoint): SupportedModel => ({
  ...facts(path, checkpoint),
  blocks: blocksOf(checkpoint.model).length,
  layers: partsOf(checkpoint.model).reduce((n, part) => n + checkpoint.listing(part).linears.length, 0),
});

const describe = (path: string, checkpoint: Checkpoint): ModelDescription => ({
  ...facts(path, checkpoint),
  blocks: blocksOf(checkpoint.model).map((part) => describeBlock(checkpoint, part)),
});

function describeBlock(checkpoint: Checkpoint, part: Part): BlockDescription {
  const { linears, parameters } = checkpoint.listing(part);
  const sizes = new Map(
    parameters.map((entry) => [entry.name, checkpoint.source.tensors.get(storedName(part, entry))!]),
  );
  const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  return {
    name: part.prefix.replace(/\.$/, ''),
    parameters: parameters.reduce((sum, { shape }) => sum + elements(shape), 0),
    bytes: [...sizes.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
    layers: linears.map((l) => ({
      name: part.prefix + l.name,
      shape: [l.out, l.in],
      bytes: [`${l.name}.weight`, `${l.name}.bias`].reduce(
        (sum, n) => sum + (sizes.get(n)?.byteLength ?? 0),
        0,
      ),
    })),
  };
}
