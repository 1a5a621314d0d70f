/** What an adapter set's config says of AdpQ (docs/FORMATS.md). */
import { UserError } from '../../errors.js';
import { expectObject, type JsonObject } from '../../formats/json.js';
import { integer, number, oneOf, readFields, record, type Fields } from '../../formats/json-fields.js';
import { show } from '../../formats/paths.js';
import type { ExpectedTensors } from '../../formats/set.js';
import { groupSizeOf, type SetConfig, type SetLayer } from '../../formats/set-config.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { GridForm } from '../../quantized/form.js';
import { GRIDS, THRESHOLDS, type AdpqSettings } from './settings.js';
import type { OutlierCounts, SplitLayout } from './split.js';

export interface AdpqConfig extends Pick<AdpqSettings, 'outliers' | 'threshold' | 'grid'> {
  readonly outlier_bits: number;
  /** `OutlierCounts` by the full names of layers. */
  readonly counts: JsonObject;
}

const WHERE = 'adapter_config.json: method';

const fields: Fields<AdpqConfig> = {
  outliers: number(0, 0.5),
  outlier_bits: integer(2, MAX_BITS),
  threshold: oneOf(...THRESHOLDS),
  grid: oneOf(...GRIDS),
  counts: (object, key, where) => expectObject(object[key], `${where}: ${key}`),
};

/** Throws UserError for a config that is not AdpQ's. */
export const readConfig = ({ method: { name: _name, ...own } }: Pick<SetConfig, 'method'>): AdpqConfig =>
  readFields(own, fields, WHERE, 'dropped');

export const layoutAt = (
  { outlier_bits, grid }: Pick<AdpqConfig, 'outlier_bits' | 'grid'>,
  layer: SetLayer,
  bits: number,
): SplitLayout => ({
  bits,
  outlierBits: Math.max(bits, outlier_bits),
  groupSize: groupSizeOf(layer, bits),
  grid,
});

/** Throws UserError as `readConfig`, and where the layer's counts are missing or more than there can be. */
export function formAt(config: AdpqConfig, name: string, layer: SetLayer, bits: number): GridForm {
  const { outlierBits, groupSize, grid } = layoutAt(config, layer, bits);
  const { elements, groups } = record<OutlierCounts>({
    elements: integer(0, layer.in * layer.out),
    groups: integer(0, groupsOf(layer, groupSize)),
  })(config.counts, name, `${WHERE}: counts`);
  return {
    kind: 'grid',
    in: layer.in,
    out: layer.out,
    bits,
    groupSize,
    zeroBits: grid === 'symmetric' ? 0 : bits,
    apart: { elements, groups, bits: outlierBits, zeroBits: grid === 'symmetric' ? 0 : outlierBits },
  };
}

/** The thresholds of every layer. Throws as `formAt`. */
export function expectedThresholds(config: SetConfig): ExpectedTensors {
  const own = readConfig(config);
  return new Map(
    Object.entries(config.layers).map(([name, layer]) => {
      const [size = 0, ...others] = new Set(config.offered.map((bits) => groupSizeOf(layer, bits)));
      if (others.length > 0 || size < 1)
        throw new UserError(`adapter_config.json: the layer ${show(name)} must have one group size of AdpQ.`);
      for (const bits of config.offered) formAt(own, name, layer, bits);
      return [`${name}.threshold`, { shape: [own.threshold === 'matrix' ? 1 : groupsOf(layer, size)] }];
    }),
  );
}

/** Groups of columns of all rows. */
const groupsOf = (layer: SetLayer, groupSize: number) => layer.out * Math.ceil(layer.in / groupSize);
