/** The kind `get`: a model of the hub, into the cache. */
import { rm } from 'node:fs/promises';
import { UserError } from '../../errors.js';
import { integer, number, optional, text, type Field, type Fields } from '../../formats/json-fields.js';
import { show } from '../../formats/paths.js';
import { lockPlaceOf, repositoryOf, unfinishedIn } from '../../hub/cache.js';
import { isCommit, isModel, isRevision } from '../../hub/id.js';
import { hubCache } from '../../hub/settings.js';
import { whileLocked } from '../../locks/lock.js';
import type { GetRequest, HubModelParams } from '../../protocol/protocol.js';
import type { Kind } from './kind.js';

const hubModel = textOf('the name of a model of the hub, such as org/name', isModel);
const revision = textOf('a branch, a tag or a commit', isRevision);
const commit = textOf('a commit of 40 hex digits', isCommit);

function textOf(what: string, isOne: (text: string) => boolean): Field<string> {
  return (object, key, where) => {
    const found = text()(object, key, where);
    if (isOne(found)) return found;
    throw new UserError(`${where}: "${key}" must be ${what}, found ${show(found, 60)}.`);
  };
}

export const hubModelParams: Fields<HubModelParams> = { model: hubModel, revision: optional(revision) };

const repository = ({ model }: GetRequest) => repositoryOf(hubCache(), { model });

export const get: Kind<'get'> = {
  title: 'Get',
  request: { ...hubModelParams, commit: optional(commit) },
  result: {
    out: text(),
    commit: text(),
    bytes: integer(0),
    downloaded: integer(0),
    licence: optional(text()),
    seconds: number(0),
    peakMemory: integer(0),
  },
  writes: repository,
  sets: () => [],
  progress: {
    place: 'file',
    made: async (request) => (await unfinishedIn(repository(request))).length > 0,
    discard: (request) =>
      whileLocked(lockPlaceOf(hubCache(), request), async () => {
        for (const path of await unfinishedIn(repository(request))) await rm(path, { force: true });
      }),
    resumed: (request) => request,
  },
  run: async (request, hooks) => (await import('../runs/get.js')).runGet(request, hooks),
};
