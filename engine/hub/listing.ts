/** What a hub has of a model, and which of it is needed here. */
import { listFiles, modelInfo } from '@huggingface/hub';
import { UserError } from '../errors.js';
import { expectObject, expectObjectAt, expectString, parseJsonStrict, decodeUtf8 } from '../formats/json.js';
import { MODEL_FILES } from '../formats/model-file-names.js';
import { show } from '../formats/paths.js';
import type { HubClient } from './client.js';
import { checkHash, startHash, type Hash } from './hash.js';
import { isCommit, type HubId } from './id.js';

export interface HubFile {
  readonly name: string;
  readonly bytes: number;
  readonly hash: Hash;
  readonly url: string;
}

export interface HubListing {
  readonly id: HubId;
  readonly commit: string;
  /** As the model's card says it, such as `apache-2.0`. */
  readonly licence?: string;
  /** Whether its terms must be accepted. */
  readonly isGated: boolean;
  /** What is needed: `config.json` first, weights last. */
  readonly files: readonly HubFile[];
}

export const SINGLE = 'model.safetensors';
export const INDEX = 'model.safetensors.index.json';
/** Far above what a hub says of a model. */
const MAX_ANSWER = 64 << 20;
const MAX_FILES = 10_000;
/** As readers of a model take them. */
const MAX_INDEX = 16 << 20;

/** Throws UserError where the hub refuses, and where the model has no safetensors weights. */
export async function listModel(client: HubClient, id: HubId, commit?: string): Promise<HubListing> {
  const { endpoint } = client.settings;
  const shared = { hubUrl: endpoint, fetch: fetchOf(client, id) };
  const info = await modelInfo({
    ...shared,
    name: id.model,
    revision: commit ?? id.revision,
    additionalFields: ['sha', 'cardData', 'tags'],
  });
  const { sha, gated } = info;
  if (typeof sha !== 'string' || !isCommit(sha) || (commit !== undefined && sha !== commit))
    throw new UserError(`${endpoint} does not say which commit of ${id.model} it has.`);
  const found = new Map<string, HubFile>();
  let count = 0;
  for await (const entry of listFiles({ ...shared, repo: id.model, revision: sha })) {
    if (++count > MAX_FILES) throw new UserError(`${id.model} has too many files.`);
    if (entry.type === 'file' && isPlainName(entry.path))
      found.set(
        entry.path,
        fileOf(entry, `${endpoint}/${id.model}/resolve/${sha}/${encodeURIComponent(entry.path)}`),
      );
  }
  const licence = licenceOf(info);
  return {
    id,
    commit: sha,
    ...(licence !== undefined && { licence }),
    isGated: gated !== false && gated !== undefined,
    files: await neededFiles(client, id, found),
  };
}

/** The package asks through the client, by which the token goes nowhere else, and refusals are explained. */
const fetchOf =
  (client: HubClient, id: HubId): typeof fetch =>
  async (input) => {
    const url = typeof input === 'string' ? input : input instanceof URL ? input.href : input.url;
    if (new URL(url).origin !== new URL(client.settings.endpoint).origin)
      throw new UserError(`${client.settings.endpoint} continues its list elsewhere, which is not followed.`);
    const { bytes, answer } = await client.read(url, id, MAX_ANSWER);
    const { link } = answer.headers;
    if (!isJson(bytes))
      throw new UserError(`${client.settings.endpoint} does not answer as a hub; is HF_ENDPOINT right?`);
    return new Response(bytes, {
      headers: { 'content-type': 'application/json', ...(link !== undefined && { link: String(link) }) },
    });
  };

const isJson = (bytes: Buffer): boolean => {
  try {
    JSON.parse(bytes.toString('utf8'));
    return true;
  } catch {
    return false;
  }
};

/** A file in the model's own folder, of a name that every drive takes for a file there. */
const isPlainName = (name: unknown): name is string =>
  typeof name === 'string' && name.length <= 200 && /^\w[\w.+-]*$/.test(name) && !name.endsWith('.');

function fileOf(
  entry: { path: string; size: number; oid?: string; lfs?: { oid: string; size: number } },
  url: string,
): HubFile {
  const { path: name, size, oid, lfs } = entry;
  const bytes = lfs?.size ?? size;
  const hash = checkHash(lfs ? { kind: 'sha256', hex: lfs.oid } : { kind: 'git', hex: oid ?? '' });
  if (!hash || !Number.isSafeInteger(bytes) || bytes < 0)
    throw new UserError(`The hub does not say the size and hash of ${show(name)}.`);
  return { name, bytes, hash, url };
}

function licenceOf({ cardData, tags }: { cardData?: unknown; tags?: unknown }): string | undefined {
  const card = (typeof cardData === 'object' && cardData ? cardData : {}) as Record<string, unknown>;
  const isOther = card.license === 'other' && typeof card.license_name === 'string';
  const said = [isOther ? card.license_name : card.license].flat().filter((one) => typeof one === 'string');
  const tagged = (Array.isArray(tags) ? tags : [])
    .filter((tag): tag is string => typeof tag === 'string' && tag.startsWith('license:'))
    .map((tag) => tag.slice('license:'.length));
  const names = said.length > 0 ? said : tagged;
  return names.length > 0 ? names.join(', ').slice(0, 200) : undefined;
}

/** Pickles, code and formats of other frameworks are left where they are. */
async function neededFiles(
  client: HubClient,
  id: HubId,
  found: ReadonlyMap<string, HubFile>,
): Promise<readonly HubFile[]> {
  const beside = MODEL_FILES.flatMap((name) => found.get(name) ?? []);
  if (beside[0]?.name !== 'config.json')
    throw new UserError(`${id.model} has no config.json: it is no model that can be read here.`);
  const single = found.get(SINGLE);
  if (single) return [...beside, single];
  const index = found.get(INDEX);
  if (!index)
    throw new UserError(
      `${id.model} has no safetensors weights (${SINGLE}); other formats can run code, or are not read.`,
    );
  const names = await shardsOf(client, id, index);
  const shards = names.map((name) => {
    const shard = isPlainName(name) && name.endsWith('.safetensors') ? found.get(name) : undefined;
    if (!shard)
      throw new UserError(`${INDEX} of ${id.model} names ${show(name)}, which is no file of its folder.`);
    return shard;
  });
  return [...beside, index, ...shards];
}

async function shardsOf(client: HubClient, id: HubId, index: HubFile): Promise<string[]> {
  const text = decodeUtf8(await readSmall(client, id, index, MAX_INDEX), INDEX);
  const map = expectObjectAt(expectObject(parseJsonStrict(text, INDEX), INDEX), 'weight_map', INDEX);
  return [...new Set(Object.keys(map).map((name) => expectString(map, name, `${INDEX}: weight_map`)))].sort();
}

/** A small file as a whole, checked by its hash. */
export async function readSmall(client: HubClient, id: HubId, file: HubFile, most: number): Promise<Buffer> {
  if (file.bytes > most) throw new UserError(`${file.name} of ${id.model} is too large to be one.`);
  const { bytes } = await client.read(file.url, id, file.bytes);
  const { hasher, matches } = startHash(file);
  hasher.update(bytes);
  if (bytes.length === file.bytes && matches()) return bytes;
  throw new UserError(
    `What came as ${file.name} of ${id.model} is not the file that the hub has; try again.`,
  );
}
