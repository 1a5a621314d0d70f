/** Where a calibration writes: found fit before any work, and kept from other writers until the end. */
import { existsSync } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { UserError } from '../errors.js';
import { placeOf, tryFolder } from '../formats/output.js';
import { show } from '../formats/paths.js';
import { CONFIG_FILE, isWholeSet, readSetConfig, readTensorsDigest, TENSORS_FILE } from '../formats/set.js';
import type { SetConfig } from '../formats/set-config.js';
import { setContents } from '../formats/set-folder.js';
import { lock } from '../locks/lock.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { AnyMethod, CommonSettings } from './method.js';
import {
  discardProgress,
  noteReplaced,
  progressMade,
  removeUnusedProgress,
  replacedBy,
  requireProgressFolder,
} from './progress.js';

export interface SetOutput {
  /** The folder of the adapter set, links followed. */
  readonly place: string;
  /** The set, where the calibration that was to be resumed has written it already. */
  readonly finished?: SetConfig;
  /** Lets others write there. */
  release(): Promise<void>;
}

export interface OutputRequest {
  readonly out: string;
  /** Go on with the progress that is there. */
  readonly resume: boolean;
  /** Replace the adapter set that is there, and its unfinished calibration where that is not resumed. */
  readonly force: boolean;
}

interface Asked {
  readonly checkpoint: Checkpoint;
  readonly method: Pick<AnyMethod, 'name'>;
  readonly settings: CommonSettings;
}

/**
 * Opens the folder of an adapter set that is about to be made. Throws UserError where it cannot be written; holds anything
 * but an adapter set; is the model's; holds a set, or progress, that nobody asked to replace or resume; or is being written.
 */
export async function openSetOutput(request: OutputRequest, asked: Asked): Promise<SetOutput> {
  const place = await placeOf(request.out);
  await requireSetFolder(place, asked.checkpoint.folder);
  const held = await lock(place);
  try {
    const finished = await finishedSet(place, request, asked);
    if (finished) await discardProgress(place);
    else await prepare(place, request);
    return {
      place,
      ...(finished && { finished }),
      release: async () => {
        await removeUnusedProgress(place);
        await held.release();
      },
    };
  } catch (error) {
    await removeUnusedProgress(place);
    await held.release();
    throw error;
  }
}

/** Throws UserError unless the folder, where it is there, may hold an adapter set. */
async function requireSetFolder(place: string, model: string): Promise<void> {
  if (place === (await realpath(model)))
    throw new UserError(`${place} is the model's folder; choose one of its own for the adapter set.`);
  if (basename(place).endsWith('.partial'))
    throw new UserError(`${place} ends in .partial, which marks unfinished work; choose another name.`);
  const there = await stat(place).catch(() => undefined);
  if (there && !there.isDirectory())
    throw new UserError(`Cannot write ${place}: there is a file of that name; choose a new folder.`);
  const other = (await setContents(place)).others.find((name) => !OF_DESKTOPS.has(name));
  if (other !== undefined)
    throw new UserError(
      `${place} holds ${show(other)}, which is not part of an adapter set; choose a new or empty folder.`,
    );
}

/** Whether the set that is there is one that the unfinished calibration replaces, or has begun to write. */
const isReplaced = async (place: string): Promise<boolean> =>
  !(await isWhole(place)) || (await replacedBy(place)) === (await readTensorsDigest(place));

/** False for a set that lacks its tensors, too. */
const isWhole = (place: string) => isWholeSet(place).catch(() => false);

/** What file managers leave wherever they look. */
const OF_DESKTOPS = new Set(['.DS_Store', 'Thumbs.db', 'desktop.ini', '.directory']);

/** The set that the calibration to be resumed has written before it was killed, if it came so far. */
async function finishedSet(
  place: string,
  { resume, force }: OutputRequest,
  { checkpoint, method, settings }: Asked,
): Promise<SetConfig | undefined> {
  const isUnfinished = (await progressMade(place)) !== undefined;
  // Without progress, a set to be replaced cannot be told from the one that replaced it.
  if (!resume || (force && !isUnfinished)) return undefined;
  if (!existsSync(join(place, CONFIG_FILE)) || !(await isWhole(place))) return undefined;
  const config = await readSetConfig(place);
  const isSame =
    config.model.fingerprint === (await checkpoint.fingerprint()) &&
    config.method.name === method.name &&
    config.mode === settings.mode &&
    config.seed === settings.seed &&
    config.offered.join() === settings.offered.join();
  if (!isSame) return undefined;
  const isOld = isUnfinished && (await replacedBy(place)) === (await readTensorsDigest(place));
  return isOld ? undefined : config;
}

async function prepare(place: string, { resume, force }: OutputRequest): Promise<void> {
  const goesOn = resume && (await progressMade(place)) !== undefined;
  const isThere = existsSync(join(place, CONFIG_FILE));
  if (isThere && !force && !(goesOn && (await isReplaced(place))))
    throw new UserError(
      `${place} already holds an adapter set; choose another folder, or replace it with --force.`,
    );
  await tryFolder(place, TENSORS_FILE);
  if (goesOn) return;
  if (force) await discardProgress(place);
  await requireProgressFolder(place, resume);
  await noteReplaced(place, isThere ? await readTensorsDigest(place).catch(() => undefined) : undefined);
}
