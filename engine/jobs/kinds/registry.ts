/** The kinds of jobs that are queued. */
import { UserError } from '../../errors.js';
import { readFields } from '../../formats/json-fields.js';
import { show } from '../../formats/paths.js';
import type { JobKind, JobTypes } from '../../protocol/protocol.js';
import { calibrate } from './calibrate.js';
import { evaluate } from './evaluate.js';
import { exporting } from './export.js';
import { get } from './get.js';
import type { Kind } from './kind.js';
import { sensitivity } from './sensitivity.js';

const kinds: { readonly [K in JobKind]: Kind<K> } = {
  calibrate,
  evaluate,
  sensitivity,
  export: exporting,
  get,
};

export const kindNames = Object.keys(kinds) as JobKind[];

export const kindOf = <K extends JobKind>(name: K): Kind<K> => kinds[name];

export const isKind = (name: unknown): name is JobKind =>
  typeof name === 'string' && Object.hasOwn(kinds, name);

/** The kind that JSON of unknown origin names. Throws UserError that begins with `where` for another. */
export function parseKind(name: unknown, where: string): JobKind {
  if (isKind(name)) return name;
  const known = kindNames.map((kind) => `"${kind}"`).join(', ');
  throw new UserError(`${where}: "kind" must be one of ${known}, found ${show(name, 40)}.`);
}

/** Throws UserError that begins with `where` for the first thing wrong. */
export const parseRequest = <K extends JobKind>(
  name: K,
  value: unknown,
  where: string,
): JobTypes[K]['request'] => readFields(value, kindOf(name).request, where);
