/** Where a sensitivity job writes, and what it keeps of an unfinished measurement: `<out>.partial`. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { removeStaleTemporaries, writeFileAtomic } from '../formats/atomic.js';
import { expectObject, readJsonFile } from '../formats/json.js';
import { list, number } from '../formats/json-fields.js';
import { placeOf, tryFile } from '../formats/output.js';
import {
  checkTable,
  readSensitivity,
  SENSITIVITY_FILE,
  type Sensitivity,
  type SensitivityIdentity,
} from '../formats/sensitivity.js';
import { readTensorsDigest } from '../formats/set.js';
import { lock } from '../locks/lock.js';
import type { SensitivityRequest } from '../protocol/protocol.js';

/** Where the costs are written. */
export const sensitivityPath = ({ adapters, out }: Pick<SensitivityRequest, 'adapters' | 'out'>): string =>
  resolve(out ?? join(adapters, SENSITIVITY_FILE));

const partialOf = (path: string) => `${path}.partial`;

interface SensitivityProgress {
  /** Of the layers measured so far. */
  readonly costs: readonly (readonly number[])[];
  readonly add: (costs: readonly number[]) => Promise<void>;
  readonly remove: () => Promise<void>;
}

export interface SensitivityOutput {
  /** The file, links followed. */
  readonly place: string;
  /** What is there, where the measurement that was to be resumed has written it already. */
  readonly finished?: Sensitivity;
  /** Lets others write it. */
  release(): Promise<void>;
}

/**
 * Opens the file that a measurement is about to be written to. Throws UserError where it cannot be, holds anything but the
 * costs of an adapter set, or costs or progress that nobody asked to replace or resume; and where it is being written.
 */
export async function openSensitivityOutput(
  request: Pick<SensitivityRequest, 'adapters' | 'out' | 'resume' | 'force'>,
): Promise<SensitivityOutput> {
  const place = await placeOf(request.out ?? sensitivityPath(request));
  const held = await lock(place);
  try {
    const finished = await prepare(place, request);
    return { place, ...(finished && { finished }), release: () => held.release() };
  } catch (error) {
    await held.release();
    throw error;
  }
}

async function prepare(
  place: string,
  { adapters, resume = false, force = false }: Omit<SensitivityRequest, 'model' | 'data'>,
): Promise<Sensitivity | undefined> {
  if (place.endsWith('.partial'))
    throw new UserError(`${place} ends in .partial, which marks unfinished work; choose another name.`);
  await tryFile(partialOf(place));
  await tryFile(place);
  const isBegun = isUnfinished(place);
  if (existsSync(place)) {
    const found = await readSensitivity(place).catch((error: unknown) => {
      throw new UserError(`${place} is there and is not a sensitivity; choose another name.`, {
        cause: error,
      });
    });
    const isOwn = found.tensors_sha256 === (await readTensorsDigest(adapters));
    if (resume && !force && !isBegun && isOwn) return found;
    if (!force && !(resume && isBegun))
      throw new UserError(`${place} is there already; choose another name, or replace it with --force.`);
  }
  if (isBegun && !resume) {
    if (!force) throw unfinished(partialOf(place));
    await discardMeasured(place);
  }
  return undefined;
}

/** Throws UserError where what is there was measured on something else, or nobody asked to resume it. */
export async function openMeasured(
  out: string,
  identity: SensitivityIdentity & Readonly<Record<string, unknown>>,
  resume: boolean,
): Promise<SensitivityProgress> {
  const path = partialOf(out);
  await removeStaleTemporaries(dirname(path));
  const isThere = isUnfinished(out);
  if (isThere && !resume) throw unfinished(path);
  const costs = isThere ? await readProgress(path, identity) : [];
  return {
    costs,
    add: async (row) => {
      costs.push([...row]);
      await writeFileAtomic(path, JSON.stringify({ identity, costs }));
    },
    remove: () => rm(path, { force: true }),
  };
}

const unfinished = (path: string) =>
  new UserError(
    `${path} holds an unfinished measurement; continue it with --resume, or delete it to start again.`,
  );

async function readProgress(path: string, identity: SensitivityIdentity): Promise<number[][]> {
  const saved = expectObject(await readJsonFile(path), path);
  if (JSON.stringify(saved.identity) !== JSON.stringify(identity))
    throw new UserError(
      `${path} was measured on something else; resume with the same settings, model and data, or delete it.`,
    );
  const costs = list((object, key, where) => list(number(0))(object, key, where))(saved, 'costs', path);
  if (costs.length > identity.layers.length) throw new UserError(`${path}: "costs" has too many rows.`);
  checkTable({ ...identity, costs }, costs.length, path);
  return costs;
}

/** Whether there is a measurement to go on with. */
export const isUnfinished = (out: string): boolean => existsSync(partialOf(out));

export const discardMeasured = (out: string): Promise<void> => rm(partialOf(out), { force: true });
