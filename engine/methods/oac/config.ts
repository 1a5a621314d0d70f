/** What an adapter set's config says of OAC (docs/FORMATS.md). */
import { UserError } from '../../errors.js';
import { integer, mapOf, oneOf, optional, readFields, type Fields } from '../../formats/json-fields.js';
import { show } from '../../formats/paths.js';
import { groupSizeOf, type SetConfig } from '../../formats/set-config.js';
import type { SetPart } from '../../protocol/protocol.js';
import { bytesOf, statedBits, type WeightForm } from '../../quantized/form.js';
import { gridParts, type FormAt } from '../weight-set.js';
import { backendAt, formAt } from './backends.js';
import { BACKENDS, type BackendName } from './settings.js';

interface OacConfig {
  /** Absent in sets made before there were others than GPTQ's. */
  readonly backend?: BackendName;
  /** Of every layer at each bit-width, outliers (SpQR) or columns of two planes (BiLLM). */
  readonly counts?: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

const WHERE = 'adapter_config.json: method';

const fields: Fields<OacConfig> = {
  backend: optional(oneOf(...BACKENDS)),
  counts: optional(mapOf(mapOf(integer(0)))),
};

/** The forms of a set's weights. Throws UserError for a config that is not OAC's. */
export function formsOf({ method, layers }: Pick<SetConfig, 'method' | 'layers'>): FormAt {
  const { name: _name, ...own } = method;
  const { backend = 'gptq', counts } = readFields(own, fields, WHERE, 'dropped');
  return (name, bits) => {
    const layer = layers[name]!;
    const own = backendAt(backend, bits);
    const layout = { backend: own, groupSize: own === 'gptq' ? undefined : groupSizeOf(layer, bits) };
    if (own === 'gptq')
      return { kind: 'grid', in: layer.in, out: layer.out, bits, groupSize: groupSizeOf(layer, bits) };
    const count = counts?.[name]?.[bits];
    const most = own === 'spqr' ? layer.in * layer.out : layer.in;
    if (count === undefined || count > most)
      throw new UserError(
        `${WHERE}: "counts" must have a number of at most ${most} for ${show(name)} at ${bits} bits.`,
      );
    return formAt(layout, layer, bits, count);
  };
}

/** How many columns share statistics; and what is stored, where papers count less. */
export function partsOf(config: SetConfig): SetPart[] {
  const forms = formsOf(config);
  return gridParts(config).map(({ bits: [bits = 0], facts }) => {
    const all = Object.keys(config.layers).map((name) => forms(name, bits));
    const size = ({ in: columns, out }: WeightForm) => columns * out;
    const mean = (bitsOf: (form: WeightForm) => number) =>
      all.reduce((sum, form) => sum + bitsOf(form) * size(form), 0) /
      all.reduce((sum, form) => sum + size(form), 0);
    if (statedBits(all[0]!) === undefined) return { bits: [bits], facts };
    const stored = mean((form) => (8 * bytesOf(form)) / size(form)).toFixed(2);
    const stated = mean((form) => statedBits(form)!).toFixed(2);
    const value = `${stored} bits per weight (${stated} as papers count)`;
    return { bits: [bits], facts: [...facts, { label: 'stored', value }] };
  });
}
