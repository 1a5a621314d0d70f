/** What all formats have in common: how they read a model with a set part by part, and what hardly any of them can say. */
import { CancelledError, UserError } from '../errors.js';
import { show } from '../formats/paths.js';
import type { HostTensor } from '../models/checkpoint.js';
import { storedName, type ParameterEntry } from '../models/listing.js';
import { partsOf, type Part } from '../models/model.js';
import type { ExportContext } from './exporter.js';
import { exportedBits } from './layer-weight.js';

/** A parameter and whose it is. */
export interface Owner {
  readonly part: Part;
  readonly entry: ParameterEntry;
}

/** The parameters that each stored tensor is. */
export function ownersOf({ source }: Pick<ExportContext, 'source'>): Map<string, Owner[]> {
  const owners = new Map<string, Owner[]>();
  for (const part of partsOf(source.checkpoint.model))
    for (const entry of source.checkpoint.listing(part).parameters) {
      const name = storedName(part, entry);
      owners.set(name, [...(owners.get(name) ?? []), { part, entry }]);
    }
  return owners;
}

/** Why what only holds weights cannot hold a set; undefined where it can. @param holder as in "which … cannot say" */
export function refuseMoreThanWeights(context: ExportContext, holder: string): string | undefined {
  if (context.config.mode !== 'weight-only')
    return `The adapter set quantizes activations, which ${holder} cannot say; calibrate weights alone (--mode weight-only).`;
  return refuseCache(context, holder) ?? refuseChanges(context, holder);
}

/** Why what has no quantized cache cannot hold a set. */
export const refuseCache = ({ source }: ExportContext, holder: string): string | undefined =>
  source.cache === undefined
    ? undefined
    : `The adapter set quantizes keys and values, which ${holder} cannot say; calibrate without --kv-bits.`;

/** Why what computes what the original does cannot hold a set. */
export function refuseChanges(
  { original, source, config }: ExportContext,
  holder: string,
): string | undefined {
  if (source.checkpoint.model === original.model) return undefined;
  const names = config.transforms.map((transform) => transform.name).join(', ');
  return `The adapter set changes what the model computes, not its weights alone (${names}), which ${holder} cannot say.`;
}

/** The layer whose weight a parameter is; undefined where it is something else. */
export const linearOf = ({ source }: Pick<ExportContext, 'source'>, { part, entry }: Owner) =>
  source.checkpoint.listing(part).linears.find((layer) => entry.name === `${layer.name}.weight`);

/** Whether a parameter is exported at some bits. */
export function isQuantized(context: ExportContext, owner: Owner): boolean {
  const layer = linearOf(context, owner);
  return layer !== undefined && exportedBits(context, owner.part, layer) !== undefined;
}

/** Reads the parameters of a part, transforms applied; those that were asked for last are kept. */
export function partReader(context: ExportContext): (part: Part) => Promise<ReadonlyMap<string, HostTensor>> {
  let last: { readonly part: Part; readonly parameters: ReadonlyMap<string, HostTensor> } | undefined;
  return async (part) => {
    if (last?.part !== part) {
      last = undefined;
      last = { part, parameters: await context.source.checkpoint.read(part) };
      requireOwnParameters(context, part, last.parameters);
    }
    return last.parameters;
  };
}

/** Transforms may give a layer a bias that the model's graph, and so its config, has no place for. */
function requireOwnParameters(
  { source }: ExportContext,
  part: Part,
  parameters: ReadonlyMap<string, HostTensor>,
): void {
  const known = new Set(source.checkpoint.listing(part).parameters.map(({ name }) => name));
  const added = [...parameters.keys()].find((name) => !known.has(name));
  if (added !== undefined)
    throw new UserError(
      `The adapter set adds ${show(part.prefix + added)}, which the model's config has no place for; it cannot be exported as a checkpoint.`,
    );
}

/** Each tensor's turn is a safe point. */
export function withProgress<D, T extends { readonly data: () => Promise<D> }>(
  entries: readonly T[],
  { hooks }: ExportContext,
) {
  let done = 0;
  return entries.map((entry) => ({
    ...entry,
    data: async () => {
      if (hooks.signal.aborted) throw new CancelledError();
      hooks.status(done / entries.length, `tensor ${done + 1}/${entries.length}`);
      done++;
      return entry.data();
    },
  }));
}
