/** The tensors of an elastic file, which follow from what it says of itself (docs/FORMATS.md, "Elastic file"). */
import { UserError } from '../errors.js';
import type { ExpectedTensor } from '../formats/set.js';
import type { SetConfig } from '../formats/set-config.js';
import { groupsOf, type GridForm } from '../quantized/form.js';
import { packedBytes } from '../quantized/packing.js';
import {
  elasticForm,
  rankOf,
  schemeOf,
  STORED_BITS,
  where,
  zeroBitsOf,
  type ElasticConfig,
} from './layout.js';

/** The tensors of a weight in codes of 8 bits, by what follows its name. @param of its stored shape, rows first */
export const baseTensors = (of: readonly number[]): (readonly [string, ExpectedTensor])[] => [
  ['base.codes', { shape: of, dtype: 'U8' }],
  ['base.scale', { shape: [of[0]!], positive: true }],
  ['base.zero', { shape: [of[0]!], dtype: 'U8' }],
];

/** The tensors of a layer at a bit-width, by what stands between its name and the bits. */
export function widthTensors(config: ElasticConfig, form: GridForm): Map<string, ExpectedTensor> {
  const scheme = schemeOf(config, form.bits)!;
  if (scheme === 'base') return new Map();
  const { in: columns, out, bits, groupSize } = form;
  const groups = groupsOf(form);
  const scales = groupSize === -1 ? 'F32' : config.scales;
  const packed = (count: number, each: number): ExpectedTensor => ({
    shape: [out, packedBytes(count, each)],
    dtype: 'U8',
  });
  const tensors = new Map<string, ExpectedTensor>([
    ['scale', { shape: [out, groups], dtype: scales, positive: true }],
    ['zero', packed(groups, zeroBitsOf(config, bits))],
  ]);
  if (scheme === 'codes') tensors.set(scheme, packed(columns, bits));
  if (scheme === 'up' || scheme === 'near') tensors.set(scheme, packed(columns, STORED_BITS[scheme]));
  return tensors;
}

/** The tensors of a layer's directions. */
export function directionTensors(
  rank: number,
  { in: columns, out }: Pick<GridForm, 'in' | 'out'>,
): (readonly [string, ExpectedTensor])[] {
  if (rank === 0) return [];
  return [
    ['lora_A', { shape: [rank, columns], dtype: 'I8' }],
    ['lora_A_scale', { shape: [rank] }],
    ['lora_B', { shape: [out, rank], dtype: 'I8' }],
    ['lora_B_scale', { shape: [rank] }],
  ];
}

/** The name of what a weight's tensors are named after. */
export const ownerOf = (weight: string): string => weight.replace(/\.weight$/, '');

/** All tensors but those of activations' grids. */
export function elasticTensors(
  config: ElasticConfig,
  { layers, offered }: Pick<SetConfig, 'layers' | 'offered'>,
): Map<string, ExpectedTensor> {
  const found = new Map<string, ExpectedTensor>();
  const add = (name: string, expected: ExpectedTensor) => {
    if (found.has(name)) throw new UserError(`${where}: two parts of it claim "${name}".`);
    found.set(name, expected);
  };
  for (const [name, of] of Object.entries(config.parameters)) add(name, { shape: of });
  for (const [name, of] of Object.entries(config.tables))
    for (const [what, expected] of baseTensors(of)) add(`${ownerOf(name)}.${what}`, expected);
  const rank = rankOf(config);
  for (const [name, layer] of Object.entries(layers)) {
    for (const [what, expected] of [...baseTensors([layer.out, layer.in]), ...directionTensors(rank, layer)])
      add(`${name}.${what}`, expected);
    for (const bits of offered)
      for (const [what, expected] of widthTensors(config, elasticForm(config, { layers }, name, bits)))
        add(`${name}.${what}.${bits}`, expected);
  }
  return found;
}
