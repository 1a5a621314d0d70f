/** What a model of the hub is and would take, before any of its weights is downloaded. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { UserError } from '../../errors.js';
import { outlineSafetensors } from '../../formats/safetensors.js';
import { bytesHere, repositoryOf } from '../../hub/cache.js';
import { hubClient, type HubClient } from '../../hub/client.js';
import { roomAt } from '../../hub/get.js';
import { parseHubId } from '../../hub/id.js';
import { listModel, readSmall, type HubListing } from '../../hub/listing.js';
import { headersOf } from '../../hub/outline.js';
import { hubSettings } from '../../hub/settings.js';
import { MAX_CONFIG_BYTES, openCheckpoint } from '../../models/checkpoint.js';
import { blocksOf } from '../../models/model.js';
import type { HubDescription, HubModel, HubModelParams } from '../../protocol/protocol.js';
import type { JobHooks } from '../requests.js';
import { estimatesOf } from './estimate-all.js';

/** Reads the configuration and the headers of the weights. Throws UserError where the hub refuses. */
export async function runLook(
  { model, revision }: HubModelParams,
  { signal }: Pick<JobHooks<'look'>, 'signal'>,
): Promise<HubModel> {
  const client = hubClient(hubSettings(), signal);
  const listing = await listModel(client, parseHubId(model, revision));
  const { id, commit, licence, isGated, files } = listing;
  const { cache } = client.settings;
  const repository = repositoryOf(cache, id);
  const [free, described] = [await roomAt(repository), await describe(client, listing, signal)];
  return {
    model: id.model,
    revision: id.revision,
    commit,
    ...(licence !== undefined && { licence }),
    gated: isGated,
    files: await Promise.all(
      files.map(async (file) => ({
        name: file.name,
        bytes: file.bytes,
        here: await bytesHere(repository, file),
      })),
    ),
    cache,
    ...(free !== undefined && { free }),
    memory: totalmem(),
    ...described,
  };
}

async function describe(
  client: HubClient,
  listing: HubListing,
  signal: AbortSignal,
): Promise<Pick<HubModel, 'description' | 'unsupported'>> {
  const { id, files } = listing;
  const config = await readSmall(client, id, files[0]!, MAX_CONFIG_BYTES);
  const headers = await headersOf(client, listing);
  const temporary = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
  // A model goes by the name of its folder.
  const folder = join(temporary, basename(id.model));
  try {
    await mkdir(folder);
    await writeFile(join(folder, 'config.json'), config);
    return { description: await descriptionOf(folder, outlineSafetensors(headers), signal) };
  } catch (error) {
    if (error instanceof UserError) return { unsupported: error.message };
    throw error;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function descriptionOf(
  folder: string,
  outline: ReturnType<typeof outlineSafetensors>,
  signal: AbortSignal,
): Promise<HubDescription> {
  const checkpoint = await openCheckpoint(folder, { outline });
  const { model, parameters, warnings } = checkpoint;
  return {
    family: model.family,
    task: model.task,
    blocks: blocksOf(model).length,
    parameters,
    warnings,
    estimates: await estimatesOf(checkpoint, { model: folder }, signal),
  };
}
