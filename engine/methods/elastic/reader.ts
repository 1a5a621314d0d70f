/** Elastic files as sets: a base in 8 bits, and what makes codes of every other bit-width of it (docs/FORMATS.md). */
import { ELASTIC, elasticForm, readElasticConfig, schemeOf } from '../../elastic/layout.js';
import { elasticTensors } from '../../elastic/tensors.js';
import { expectedGrids } from '../activation-grids.js';
import type { SetReader } from '../method.js';
import { elasticSource } from './source.js';

const WORDS = {
  base: 'the base',
  rounded: 'rounded from the base',
  up: 'stored, 1 bit beside the base',
  near: 'stored, 2 bits beside the base',
  codes: 'stored',
} as const;

export const elastic: SetReader = {
  name: ELASTIC,
  words: { title: 'Elastic file', description: 'a model with all bit-widths of a set in one file' },
  tensors: (config) => {
    const own = readElasticConfig(config);
    const { activations, products = [] } = own;
    return new Map([
      ...elasticTensors(own, config),
      ...(activations === 'static' ? expectedGrids(config, products) : []),
    ]);
  },
  parts: (config) => {
    const own = readElasticConfig(config);
    return config.offered.map((bits) => ({
      bits: [bits],
      facts: [{ label: 'codes', value: WORDS[schemeOf(own, bits)!] }],
    }));
  },
  form: (config, layer, bits) => elasticForm(readElasticConfig(config), config, layer, bits),
  open: (programs, checkpoint, config, tensors) =>
    elasticSource(programs, checkpoint, config, readElasticConfig(config), tensors),
};
