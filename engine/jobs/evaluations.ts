/** Evaluations kept beside adapter sets and models: `evaluations/<name>.json` (docs/FORMATS.md). */
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { readTensorsDigest } from '../formats/set.js';
import { EVALUATIONS_FOLDER, MAX_EVALUATION_BYTES } from '../formats/set-folder.js';
import { removeStaleTemporaries, writeFileAtomic } from '../formats/atomic.js';
import { expectObject, readJsonFile } from '../formats/json.js';
import { list, readFields, record, sha256, text, type Fields } from '../formats/json-fields.js';
import { tryFile } from '../formats/output.js';
import { checkName, show } from '../formats/paths.js';
import { whileLocked } from '../locks/lock.js';
import { openCheckpoint } from '../models/checkpoint.js';
import type { EvaluateRequest, EvaluateResult, Evaluation, EvaluationReport } from '../protocol/protocol.js';
import { version } from '../version.js';
import { evaluateResult } from './kinds/evaluation-fields.js';

/** Where the result of a request lies in the end; undefined where it is not kept. */
export const evaluationPath = ({
  adapters,
  model,
  save,
}: Pick<EvaluateRequest, 'adapters' | 'model' | 'save'>): string | undefined =>
  save === undefined
    ? undefined
    : join(resolve(adapters?.[0] ?? model), EVALUATIONS_FOLDER, `${checkName(save)}.json`);

/** Does `work` while no other process writes `path`. Throws UserError before it where something is there, or nothing can be. */
export async function keepingPlace<T>(path: string, work: () => Promise<T>): Promise<T> {
  return whileLocked(path, async () => {
    if (existsSync(path)) throw new UserError(`${path} already holds an evaluation; choose another name.`);
    await removeStaleTemporaries(dirname(path));
    await tryFile(path);
    return work();
  });
}

/** Writes the result of a request to `path`, with what it was measured on. */
export async function saveEvaluation(
  path: string,
  request: EvaluateRequest,
  result: EvaluateResult,
): Promise<void> {
  const checkpoint = await openCheckpoint(request.model);
  const { name, model } = checkpoint;
  const fingerprint = await checkpoint.fingerprint().finally(() => checkpoint.close());
  const adapters = (request.adapters ?? []).map(async (folder) => ({
    label: basename(resolve(folder)),
    tensorsSha256: await readTensorsDigest(folder),
  }));
  const evaluation: Evaluation = {
    schemaVersion: 1,
    engineVersion: version,
    model: { family: model.family, name, fingerprint },
    adapters: await Promise.all(adapters),
    result,
  };
  await writeFileAtomic(path, `${JSON.stringify(evaluation, null, 2)}\n`);
}

/** The evaluations kept in adapter sets and models, newest first; folders without any, or that are gone, have none. */
export async function listEvaluations(folders: readonly string[]): Promise<EvaluationReport[]> {
  const reports = folders.map(async (folder) => {
    const names = await readdir(join(folder, EVALUATIONS_FOLDER)).catch(() => []);
    const files = names.filter((name) => name.endsWith('.json') && !name.startsWith('.'));
    return Promise.all(files.map((name) => report(folder, name)));
  });
  return (await Promise.all(reports)).flat().sort((a, b) => b.modified - a.modified);
}

async function report(folder: string, file: string): Promise<EvaluationReport> {
  const path = join(folder, EVALUATIONS_FOLDER, file);
  const modified = (await stat(path).catch(() => undefined))?.mtimeMs ?? 0;
  const common = { path, name: basename(file, '.json'), folder, modified };
  try {
    return { ...common, readable: true, evaluation: await readEvaluation(path) };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { ...common, readable: false, reason: error.message };
  }
}

const fields: Fields<Omit<Evaluation, 'schemaVersion'>> = {
  engineVersion: text(),
  model: record({ family: text(), name: text(), fingerprint: sha256() }, 'dropped'),
  adapters: list(record({ label: text(), tensorsSha256: sha256() }, 'dropped')),
  result: record(evaluateResult, 'dropped'),
};

/** Reads an evaluation file. Throws UserError for anything that does not follow docs/FORMATS.md. */
export async function readEvaluation(path: string): Promise<Evaluation> {
  const where = basename(path);
  const value = await readJsonFile(path, { maxBytes: MAX_EVALUATION_BYTES });
  const { schemaVersion } = expectObject(value, where);
  if (schemaVersion !== 1)
    throw new UserError(
      `${where}: an evaluation of schema ${show(schemaVersion, 20)}; this version reads schema 1.`,
    );
  return { schemaVersion, ...readFields(value, fields, where, 'dropped') };
}
