/** Precision plans as a job reads them: from a file to the bits of every layer. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { UserError } from '../errors.js';
import { decodeUtf8 } from '../formats/json.js';
import { fileError, sizeOfFile } from '../formats/paths.js';
import { widthsOf, type Widths } from '../execution/quantized-model.js';
import { parsePlan, resolvePlan, type PrecisionPlan } from '../plans/plan.js';
import { tied } from '../plans/fused.js';
import { averageBits } from '../plans/totals.js';
import { layerNames, layerWeights } from '../execution/model.js';
import type { Checkpoint } from '../models/checkpoint.js';

export interface NamedPlan {
  readonly path: string;
  /** Whether layers that vLLM runs as one have the most bits of one of them. */
  readonly tie: boolean;
  /** The file's name, without `.precision.json`. */
  readonly label: string;
  readonly widths: Widths;
  /** The mean over the weights of all layers. */
  readonly bits: number;
}

const MAX_BYTES = 16 << 20;

/** Throws UserError for the first thing wrong with the text. */
export async function readPlan(path: string): Promise<PrecisionPlan> {
  const { plan, problems } = parsePlan(await readText(path));
  if (!plan) throw new UserError(`${path}: ${problems[0]!.message}`);
  return plan;
}

/**
 * The plan of a file for a model's layers and bit-widths. Throws UserError for a file that is not a plan, or names layers or bit-widths
 * that there are not. @param tie gives layers that vLLM runs as one the most bits of one of them
 */
export async function openPlan(
  path: string,
  model: Pick<Checkpoint, 'model' | 'listing'>,
  offered: readonly number[],
  tie = false,
): Promise<NamedPlan> {
  const layers = layerNames(model);
  const { bits: written, problems } = resolvePlan(await readPlan(path), layers, offered);
  if (problems.length > 0) {
    const rest = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
    throw new UserError(`${path}: ${problems[0]!.message}${rest}`);
  }
  const bits = tie ? [...tied(new Map(layers.map((name, i) => [name, written[i]!]))).values()] : written;
  return {
    path,
    tie,
    label: basename(path).replace(/(\.precision)?\.json$/, '') + (tie ? ', tied' : ''),
    widths: widthsOf(layers, bits),
    bits: averageBits(layerWeights(model), bits),
  };
}

async function readText(path: string): Promise<string> {
  if ((await sizeOfFile(path)) > MAX_BYTES) throw new UserError(`${path} is too large for a precision plan.`);
  try {
    return decodeUtf8(await readFile(path), path);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
}
