/** The kind `export`: a model with an adapter set at chosen bits, written for other tools. */
import { resolve } from 'node:path';
import { UserError } from '../../errors.js';
import { exporterNamed, exporters } from '../../exporters/registry.js';
import {
  flag,
  integer,
  list,
  number,
  optional,
  path,
  record,
  text,
  type Field,
  type Fields,
} from '../../formats/json-fields.js';
import type { ExportedSet, ExportFit } from '../../protocol/exports.js';
import { bits, device, placement } from './fields.js';
import type { Kind } from './kind.js';

/** Bits of every layer, where no plan says them; of a format that holds all bit-widths they may be missing. */
const bitsWithoutPlan: Field<number | undefined> = (object, key, where) => {
  const holdsAll = exporters.some((one) => one.holdsAllBits && one.name === object.format);
  if (holdsAll && object[key] === undefined && object.plan === undefined) return undefined;
  if ((object[key] === undefined) === (object.plan === undefined))
    throw new UserError(`${where}: it must have either "${key}" or "plan".`);
  return optional(bits)(object, key, where);
};

export const exported: Fields<ExportedSet> = {
  model: path(),
  adapters: path(),
  bits: bitsWithoutPlan,
  plan: optional(path()),
  tie: optional(flag()),
};

export const exporting: Kind<'export'> = {
  title: 'Export',
  request: {
    ...placement,
    ...exported,
    format: (object, key, where) => exporterNamed(text()(object, key, where)).name,
    out: path(),
  },
  result: {
    out: text(),
    format: text(),
    bits: optional(number(1, 8)),
    fits: optional(list(record<ExportFit>({ tensor: text(), container: text(), distance: number(0) }))),
    bytes: integer(0),
    serve: optional(text()),
    device,
    seconds: number(0),
    peakMemory: integer(0),
  },
  writes: ({ out }) => resolve(out),
  sets: ({ adapters }) => [adapters],
  run: async (request, hooks) => (await import('../runs/export.js')).runExport(request, hooks),
};
