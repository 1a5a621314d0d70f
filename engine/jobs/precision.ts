/** What each bit-width of a model's layers costs and saves, and the plans that come of it. No native code is loaded here. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { FingerprintOf } from '../catalog/fingerprints.js';
import { UserError } from '../errors.js';
import { bytesOf, FLOAT_BYTES } from '../quantized/form.js';
import { checkpointBytes, quantizedBytes, type SizedModel } from '../quantized/size.js';
import { readSetConfig, readTensorsDigest, setBytes } from '../formats/set.js';
import { fingerprintsOf, type SetConfig } from '../formats/set-config.js';
import { setForm, sizedModel } from '../methods/sets.js';
import { readSensitivity, SENSITIVITY_FILE, type Sensitivity } from '../formats/sensitivity.js';
import { encodeBits, WHOLE_BITS } from '../plans/bits.js';
import { candidatesWithin } from '../plans/candidates.js';
import { bestMeasured, type Compare } from './measured-plan.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { blocksOf } from '../models/model.js';
import { solve, type AllocationLayer, type Frontier } from '../plans/allocate.js';
import type {
  AllocateParams,
  Allocation,
  AllocationPoint,
  LayerConstraint,
  MeasurePlanParams,
  MeasurePlanResult,
  PrecisionLayer,
  PrecisionParams,
  PrecisionTable,
  SensitivityTable,
} from '../protocol/protocol.js';

/** Throws UserError where the model or the set cannot be read, or the set is for other layers. */
export async function describePrecision(
  { model, adapters }: PrecisionParams,
  fingerprintOf: FingerprintOf,
): Promise<PrecisionTable> {
  const checkpoint = await openCheckpoint(model);
  try {
    const config = adapters === undefined ? undefined : await readSetConfig(adapters);
    // Without an adapter set sizes alone are known.
    const bits = config ? [...config.offered].sort((a, b) => a - b) : WHOLE_BITS;
    const sized = sizedModel(checkpoint, config);
    const layers = layersOf(checkpoint, sized, config, bits);
    const { name, model: built } = checkpoint;
    const fullBytes = checkpointBytes(checkpoint);
    const sensitivity =
      adapters !== undefined && config
        ? await sensitivityOf(adapters, config, layers, bits, await fingerprintOf(model))
        : undefined;
    return {
      model: { name, task: built.task, family: built.family },
      ...{ bits, layers },
      otherBytes: otherBytes(checkpoint, sized),
      fullBytes,
      ...(adapters !== undefined && { switchableBytes: fullBytes + (await setBytes(adapters)) }),
      ...(sensitivity && { sensitivity }),
    };
  } finally {
    await checkpoint.close();
  }
}

function layersOf(
  checkpoint: Checkpoint,
  sized: SizedModel,
  config: SetConfig | undefined,
  bits: readonly number[],
) {
  return blocksOf(checkpoint.model).flatMap((part) =>
    checkpoint.listing(part).linears.map((linear): PrecisionLayer => {
      const name = part.prefix + linear.name;
      if (config && !Object.hasOwn(config.layers, name))
        throw new UserError(`The adapter set is for another model: it has no layer "${name}".`);
      return {
        name,
        block: part.prefix.replace(/\.$/, ''),
        shape: [linear.out, linear.in],
        weights: linear.out * linear.in,
        bytes: bits.map((width) => bytesOf(sized.form(name, width))),
      };
    }),
  );
}

/** Everything but the layers' weights: the size with those in float16, less what they take then. */
function otherBytes(checkpoint: Checkpoint, sized: SizedModel): number {
  const linears = blocksOf(checkpoint.model).flatMap((part) => checkpoint.listing(part).linears);
  const weights = linears.reduce((sum, { in: columns, out }) => sum + columns * out, 0);
  return quantizedBytes(sized, () => undefined) - weights * FLOAT_BYTES;
}

/** Undefined where there is none, or one of other layers or bit-widths. */
async function sensitivityOf(
  folder: string,
  config: SetConfig,
  layers: readonly PrecisionLayer[],
  bits: readonly number[],
  fingerprint: string | undefined,
): Promise<SensitivityTable | undefined> {
  const path = join(folder, SENSITIVITY_FILE);
  if (!existsSync(path)) return undefined;
  const found = await readSensitivity(path);
  const isSame =
    found.bits.join() === bits.join() && found.layers.join('\n') === layers.map((l) => l.name).join('\n');
  if (!isSame) return undefined;
  const models = fingerprint === undefined ? fingerprintsOf(config) : [fingerprint];
  const stale = staleness(found, models, await readTensorsDigest(folder));
  const { samples, name: data } = found.calibration;
  const { kind, costs } = found;
  return { path, kind, costs, samples, data, ...(stale !== undefined && { stale }) };
}

/** Why costs no longer hold, in one sentence. @param fingerprints of the models that the set fits */
export function staleness(
  { model, tensors_sha256 }: Pick<Sensitivity, 'model' | 'tensors_sha256'>,
  fingerprints: readonly string[],
  digest: string,
): string | undefined {
  if (!fingerprints.includes(model.fingerprint)) return 'The model has changed since this was measured.';
  if (tensors_sha256 !== digest) return 'The adapter set was calibrated again since this was measured.';
  return undefined;
}

/** Bits of layers that one answer carries, over all plans; of larger frontiers points are left out, evenly. */
const MAX_CHOICES = 1 << 22;
const LEAST_POINTS = 64;

/** Throws UserError where no sensitivity is known, and for limits that leave a layer no bit-width. */
export async function allocatePrecision(
  { budget, constraints = [], within, ...params }: AllocateParams,
  fingerprintOf: FingerprintOf,
): Promise<Allocation> {
  const { bits, layers, costs } = sensitive(params, await describePrecision(params, fingerprintOf));
  const frontier = solve(bits, constrained(layers, costs, constraints), budget);
  const { exact, unit } = frontier;
  return { offered: bits, points: pointsOf(frontier, bits, layers.length, within), exact, unit };
}

/**
 * The plan within a size that measures best of a few. Throws UserError as `allocatePrecision`, for a size that no plan is
 * within, and for unfit data.
 */
export async function measurePlan(
  { budget, constraints = [], within, ...request }: MeasurePlanParams,
  describe: (params: PrecisionParams) => Promise<PrecisionTable>,
  compare: Compare,
): Promise<MeasurePlanResult> {
  const params = { model: request.model, adapters: request.adapters };
  const { bits, layers, costs } = sensitive(params, await describe(params));
  const candidates = candidatesWithin(bits, constrained(layers, costs, constraints), budget, within);
  if (!candidates) throw new UserError('No plan is within this budget.');
  const { plan, measured } = await bestMeasured(candidates, request, compare);
  return { ...measured, bits: encodeBits(plan, bits), offered: bits };
}

/** Layers with their costs. Throws UserError where no sensitivity is known. */
function sensitive(params: PrecisionParams, { bits, layers, sensitivity }: PrecisionTable) {
  if (!sensitivity)
    throw new UserError(
      `${params.adapters ?? params.model} has no measured sensitivity for these layers and bit-widths; compute it first.`,
    );
  return { bits, layers, costs: sensitivity.costs };
}

/** Layers for the allocator. Throws UserError for a limit on a layer that there is not. */
export function constrained(
  layers: readonly Pick<PrecisionLayer, 'name' | 'bytes' | 'weights'>[],
  costs: SensitivityTable['costs'],
  constraints: readonly LayerConstraint[],
): AllocationLayer[] {
  const byName = new Map(constraints.map((c) => [c.layer, c]));
  const unknown = constraints.find((c) => !layers.some(({ name }) => name === c.layer));
  if (unknown) throw new UserError(`There is no layer "${unknown.layer}".`);
  return layers.map(({ name, bytes, weights }, i) => {
    const { layer: _layer, ...limits } = byName.get(name) ?? { layer: name };
    return { name, size: bytes, weights, cost: costs[i]!, ...limits };
  });
}

/** The points that are sent: all, or as many as an answer holds, with the ends and the best one within a size. */
function pointsOf(
  { points }: Frontier,
  offered: readonly number[],
  layers: number,
  within: number | undefined,
): AllocationPoint[] {
  const most = Math.max(LEAST_POINTS, Math.floor(MAX_CHOICES / layers));
  const step = Math.max(1, points.length / most);
  const chosen = new Set<number>([points.length - 1]);
  for (let at = 0; at < points.length; at += step) chosen.add(Math.floor(at));
  if (within !== undefined) {
    const at = points.findLastIndex(({ size }) => size <= within);
    if (at >= 0) chosen.add(at);
  }
  return [...chosen]
    .sort((a, b) => a - b)
    .map((i) => points[i]!)
    .map(({ size, cost, bits }) => ({ size, cost, bits: encodeBits(bits(), offered) }));
}

/** A measured table as it stands in files: costs of the layers with their sizes, the adapter set's folder given. */
export async function readMeasured(
  path: string,
  folder: string,
): Promise<{
  readonly bits: readonly number[];
  readonly layers: PrecisionLayer[];
  readonly costs: SensitivityTable['costs'];
  readonly stale: string | undefined;
}> {
  const found = await readSensitivity(path);
  const config = await readSetConfig(folder);
  const missing = found.layers.find((name) => !Object.hasOwn(config.layers, name));
  if (missing !== undefined)
    throw new UserError(`${path} is for another model: ${folder} has no layer "${missing}".`);
  const lacking = found.bits.find((b) => !config.offered.includes(b));
  if (lacking !== undefined)
    throw new UserError(`${path} has costs at ${lacking} bits, which ${folder} lacks; measure again.`);
  const layers = found.layers.map((name): PrecisionLayer => {
    const layer = config.layers[name]!;
    return {
      ...{ name, block: '', shape: [layer.out, layer.in], weights: layer.out * layer.in },
      bytes: found.bits.map((b) => bytesOf(setForm(config, name, b))),
    };
  });
  const stale = staleness(found, fingerprintsOf(config), await readTensorsDigest(folder));
  return { bits: found.bits, layers, costs: found.costs, stale };
}
