import { expect, it } from 'vitest';
import { TINY_VIT } from '../../test/fixtures.js';
import { UserError } from '../errors.js';
import { ModelConfig } from './config.js';
import { buildModel, families } from './registry.js';

const build = (values: object) => buildModel(new ModelConfig({ ...values }, 'tiny/config.json'));

it('finds the family by model_type, and its first architecture where none is named', () => {
  for (const { modelType } of families) {
    const model = build({ ...TINY_VIT, model_type: modelType, architectures: [] });
    expect(model).toMatchObject({ family: modelType, classes: 6, width: 16 });
    expect(model.blocks).toHaveLength(2);
  }
});

it.each<[string, object, string]>([
  ['another family', { model_type: 'bert' }, '"model_type" is "bert"; supported are vit, deit.'],
  ['no family', { model_type: undefined }, '"model_type" is missing.'],
  ['a family of another kind of value', { model_type: 5 }, '"model_type" must be a text, found 5.'],
  [
    'a name that every object has',
    { model_type: 'constructor' },
    '"model_type" is "constructor"; supported are vit, deit.',
  ],
  [
    'another task',
    { architectures: ['ViTForMaskedImageModeling'] },
    '"architectures" is "ViTForMaskedImageModeling"; supported for "vit" are ViTForImageClassification.',
  ],
  [
    'an architecture of another family',
    { model_type: 'deit' },
    '"architectures" is "ViTForImageClassification"; supported for "deit" are DeiTForImageClassification, DeiTForImageClassificationWithTeacher.',
  ],
  [
    'an activation that is not computed',
    { hidden_act: 'gelu_new' },
    '"hidden_act" is "gelu_new"; supported: gelu.',
  ],
])('refuses %s and says what is supported', (_, change, message) => {
  expect(() => build({ ...TINY_VIT, ...change })).toThrow(new UserError(`tiny/config.json: ${message}`));
});
