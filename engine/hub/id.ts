/** Names of models on a hub, and of their versions. */
import { UserError } from '../errors.js';
import { show } from '../formats/paths.js';

export interface HubId {
  /** Such as `org/name`, or of the oldest models `name`. */
  readonly model: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
}

export const MAIN = 'main';
const PART = /^[A-Za-z0-9](?:[\w-]|\.(?!\.))*$/;
const COMMIT = /^[0-9a-f]{40}$/;

export const isCommit = (revision: string): boolean => COMMIT.test(revision);

/** The id in `org/name`, `name` or `org/name@revision`; undefined where it cannot be one. */
export function hubId(text: string): HubId | undefined {
  const at = text.indexOf('@');
  const model = at < 0 ? text : text.slice(0, at);
  const revision = at < 0 ? MAIN : text.slice(at + 1);
  return isModel(model) && isRevision(revision) ? { model, revision } : undefined;
}

/** `hubId`, whose revision may be given apart. Throws UserError for what is none. */
export function parseHubId(text: string, revision?: string): HubId {
  const id = hubId(text);
  if (!id) throw new UserError(`${show(text)} is not the name of a model of the hub; write org/name.`);
  if (revision === undefined) return id;
  if (text.includes('@')) throw new UserError('Name the revision once, behind @ or by itself.');
  if (!isRevision(revision))
    throw new UserError(`${show(revision)} is not a revision: a branch, a tag or a commit.`);
  return { model: id.model, revision };
}

/** Two dashes would be another model's folder in the cache. */
export const isModel = (text: string): boolean => {
  const parts = text.split('/');
  return (
    parts.length <= 2 &&
    parts.every((part) => part.length <= 96 && PART.test(part) && !part.includes('--') && !/[.-]$/.test(part))
  );
};

/** As git has them; it becomes the path of a file in the cache. */
export const isRevision = (text: string): boolean =>
  text.length <= 200 &&
  text
    .split('/')
    .every((part) => /^[\w-][\w.+-]*$/.test(part) && !part.includes('..') && !/\.(lock)?$/.test(part));
