/** Finds adapter sets, says which model each belongs to, and renames them. */
import { existsSync } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import { placeOf } from '../formats/output.js';
import { SENSITIVITY_FILE } from '../formats/sensitivity.js';
import { CONFIG_FILE, readSetConfig, setBytes } from '../formats/set.js';
import { fingerprintsOf, groupSizeOf, type SetConfig } from '../formats/set-config.js';
import { deleteSet } from '../formats/set-folder.js';
import { requireUnlocked } from '../locks/lock.js';
import { readerNamed } from '../methods/registry.js';
import { setForm } from '../methods/sets.js';
import { checkName, fileError } from '../formats/paths.js';
import type { AdapterSetReport, DeletedSet, ReadableAdapterSet, SetPart } from '../protocol/protocol.js';
import { bytesOf } from '../quantized/form.js';
import type { FingerprintOf } from './fingerprints.js';
import { walk } from './walk.js';

/** The adapter sets in folders and below, in the order of their paths. @param models checkpoint folders they can belong to */
export async function listAdapters(
  folders: readonly string[],
  models: readonly string[],
  fingerprintOf: FingerprintOf,
  signal: AbortSignal,
): Promise<AdapterSetReport[]> {
  const paths = new Set<string>();
  for (const folder of folders)
    for await (const path of walk(resolve(folder), (names) => names.includes(CONFIG_FILE), signal))
      paths.add(path);
  if (paths.size === 0) return [];
  const known: KnownModel[] = [];
  for (const path of models.map((model) => resolve(model)))
    known.push({ path, fingerprint: await fingerprintOf(path) });
  return Promise.all([...paths].map((path) => report(path, known)));
}

interface KnownModel {
  readonly path: string;
  readonly fingerprint: string | undefined;
}

async function report(path: string, models: readonly KnownModel[]): Promise<AdapterSetReport> {
  const name = basename(path);
  const file = await stat(join(path, CONFIG_FILE)).catch(() => undefined);
  const modified = file?.mtimeMs ?? 0;
  try {
    const config = await readSetConfig(path);
    return {
      ...{ path, name, modified, readable: true },
      bytes: await setBytes(path),
      ...belongsTo(path, config, models),
      facts: factsOf(config),
      groupSizes: groupSizesOf(config),
    };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { path, name, modified, readable: false, reason: messageOf(error) };
  }
}

/** The model a set was calibrated for; where that is gone or has changed, the one that looks most like it. */
function belongsTo(
  path: string,
  config: Pick<SetConfig, 'model' | 'standalone'>,
  models: readonly KnownModel[],
): Pick<ReadableAdapterSet, 'model' | 'matches'> {
  const nearest = (candidates: readonly KnownModel[]) =>
    [...candidates].sort((a, b) => shared(b.path, path) - shared(a.path, path))[0];
  const { model } = config;
  const fits = fingerprintsOf(config);
  const same = nearest(models.filter(({ fingerprint }) => fits.some((one) => one === fingerprint)));
  if (same) return { model: same.path, matches: true };
  const like =
    nearest(models.filter((m) => path.startsWith(m.path + sep))) ??
    nearest(models.filter((m) => basename(m.path) === model.name));
  return { ...(like && { model: like.path }), matches: false };
}

/** How many folders two paths share from the root on. */
function shared(a: string, b: string): number {
  const [left, right] = [a.split(sep), b.split(sep)];
  const end = left.findIndex((name, i) => name !== right[i]);
  return end === -1 ? left.length : end;
}

function factsOf(config: SetConfig): ReadableAdapterSet['facts'] {
  const { calibration, kv_bits, mode, model, offered, seed } = config;
  const method = readerNamed(config.method.name);
  return {
    engineVersion: config.engine_version,
    method: { name: method.name, title: method.words.title },
    mode,
    offered,
    model,
    ...(calibration && { calibration }),
    seed,
    embeddingBits: config.embedding_bits,
    headBits: config.head_bits,
    ...(kv_bits !== undefined && { kvBits: kv_bits }),
    parts: method.parts(config).map((part) => withAverages(config, part)),
  };
}

/** What a method says of bit-widths, with the bits that weights take at them on average, everything stored counted. */
function withAverages(config: SetConfig, part: SetPart): SetPart {
  const averages = part.bits.map((bits) => averageOf(config, bits).toFixed(2));
  return { ...part, facts: [...part.facts, { label: 'bits per weight', value: averages.join(', ') }] };
}

function averageOf(config: SetConfig, bits: number): number {
  let [bytes, weights] = [0, 0];
  for (const [name, layer] of Object.entries(config.layers)) {
    bytes += bytesOf(setForm(config, name, bits));
    weights += layer.in * layer.out;
  }
  return (8 * bytes) / weights;
}

const groupSizesOf = (config: SetConfig): Record<string, number> =>
  Object.fromEntries(
    config.offered.map((bits) => {
      const sizes = Object.values(config.layers).map((layer) => groupSizeOf(layer, bits));
      const parts = sizes.filter((size) => size !== -1);
      return [String(bits), parts.length > 0 ? Math.min(...parts) : -1];
    }),
  );

/** Renames an adapter set's folder; returns its new path. Throws UserError on an unsafe or taken name. */
export async function renameAdapters(path: string, name: string): Promise<string> {
  const target = join(dirname(resolve(path)), checkName(name));
  if (!existsSync(join(path, CONFIG_FILE))) throw new UserError(`${path} holds no adapter set.`);
  const isSameFolder = target.toLowerCase() === resolve(path).toLowerCase();
  if ((existsSync(target) && !isSameFolder) || existsSync(`${target}.partial`))
    throw new UserError(
      `There is already something named ${name} in ${dirname(target)}; choose another name.`,
    );
  try {
    await rename(path, target);
  } catch (error) {
    throw fileError(error, 'write', target);
  }
  return target;
}

/** Deletes the files of an adapter set, and nothing else. Throws UserError while a process writes it, or costs of it. */
export async function deleteAdapters(path: string): Promise<DeletedSet> {
  const place = await placeOf(path);
  for (const written of [place, join(place, SENSITIVITY_FILE)]) await requireUnlocked(written);
  return deleteSet(path);
}
