/** Configs of schema version 1, written before sets of several methods were known, as version 2. */
import { UserError } from '../errors.js';
import type { JsonObject, JsonValue } from './json.js';
import { show } from './paths.js';

/**
 * Rearranges a config of version 1; nothing in it is checked that version 2 checks. Throws `UserError` for a method that
 * version 1 never had.
 */
export function upgradeSetConfig(root: JsonObject, where: string): JsonObject {
  if (root.method !== 'quept')
    throw new UserError(`${where}: "method" must be "quept", found ${show(root.method, 40)}.`);
  const { rotation, kv_bits, norms = {}, products = [], bit_groups, hyperparameters, losses, ...head } = root;
  const keys = kv_bits !== undefined;
  return {
    ...head,
    schema_version: 2,
    ...(keys && { kv_bits }),
    offered: offeredBy(bit_groups),
    transforms: [
      ...(rotation === undefined ? [] : [{ ...(rotation as JsonObject), name: 'rotation', keys }]),
      { name: 'rescaling', norms },
    ],
    method: { name: 'quept', bit_groups, products, hyperparameters, losses } as JsonObject,
  };
}

/** From high to low; what is not a list of groups is left for the reader of groups to refuse. */
function offeredBy(groups: JsonValue | undefined): number[] {
  const bits = Array.isArray(groups)
    ? groups.flatMap((group) => ((group as JsonObject | null)?.bits as number[] | undefined) ?? [])
    : [];
  return [...new Set(bits.filter((b) => typeof b === 'number'))].sort((a, b) => b - a);
}
