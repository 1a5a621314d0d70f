/** `sensitivity.json` of an adapter set: what each bit-width of each layer costs by itself (docs/FORMATS.md). */
import { UserError } from '../errors.js';
import { MAX_BITS, MIN_BITS } from '../plans/bits.js';
import { writeFileAtomic } from './atomic.js';
import { readJsonFile } from './json.js';
import {
  integer,
  list,
  number,
  oneOf,
  readFields,
  record,
  sha256,
  text,
  type Fields,
} from './json-fields.js';

export const SENSITIVITY_FILE = 'sensitivity.json';

export const SENSITIVITY_KINDS = ['estimated', 'measured'] as const;

/** What the costs depend on. */
export interface SensitivityIdentity {
  readonly model: { readonly family: string; readonly name: string; readonly fingerprint: string };
  /** Of the adapter set. */
  readonly tensors_sha256: string;
  readonly calibration: { readonly name: string; readonly samples: number; readonly fingerprint: string };
  readonly kind: (typeof SENSITIVITY_KINDS)[number];
  /** 1 to 8, ascending. */
  readonly bits: readonly number[];
  /** Full names, in the model's order. */
  readonly layers: readonly string[];
}

export interface Sensitivity extends SensitivityIdentity {
  readonly schema_version: 1;
  readonly engine_version: string;
  /** Mean KL in nats, layer by layer, at each of `bits`. */
  readonly costs: readonly (readonly number[])[];
}

const MAX_BYTES = 16 << 20;

const fields: Fields<Sensitivity> = {
  schema_version: (object, key, where) => {
    integer(1, 1)(object, key, where);
    return 1;
  },
  engine_version: text(),
  model: record({ family: text(), name: text(), fingerprint: sha256() }),
  tensors_sha256: sha256(),
  calibration: record({ name: text(), samples: integer(1), fingerprint: sha256() }),
  // Files of before there were estimates do not say.
  kind: (object, key, where) =>
    object[key] === undefined ? 'measured' : oneOf(...SENSITIVITY_KINDS)(object, key, where),
  bits: list(number(MIN_BITS, MAX_BITS), 1),
  layers: list(text(), 1),
  costs: list((object, key, where) => list(number(0))(object, key, where)),
};

/** Throws UserError for a file that cannot be read or does not follow docs/FORMATS.md. */
export async function readSensitivity(path: string): Promise<Sensitivity> {
  const found = readFields(await readJsonFile(path, { maxBytes: MAX_BYTES }), fields, path, 'dropped');
  checkTable(found, found.layers.length, path);
  return found;
}

/** Throws UserError unless bit-widths ascend, no layer comes twice, and there are costs for the first `rows` of them. */
export function checkTable(
  { bits, layers, costs }: Pick<Sensitivity, 'bits' | 'layers' | 'costs'>,
  rows: number,
  where: string,
): void {
  if (bits.some((b, i) => i > 0 && b <= bits[i - 1]!))
    throw new UserError(`${where}: "bits" must ascend, found ${bits.join(', ')}.`);
  if (new Set(layers).size !== layers.length) throw new UserError(`${where}: "layers" names one twice.`);
  if (costs.length !== rows || costs.some((row) => row.length !== bits.length))
    throw new UserError(`${where}: "costs" must have ${rows} rows of ${bits.length} numbers.`);
}

/** The same costs give the same bytes. */
export const writeSensitivity = (path: string, sensitivity: Sensitivity): Promise<void> =>
  writeFileAtomic(path, `${JSON.stringify(sensitivity, null, 1)}\n`);
