import { expect, it } from 'vitest';
import { TINY_LLAMA, TINY_VIT } from '../../test/fixtures.js';
import { UserError } from '../errors.js';
import { ModelConfig } from './config.js';
import { buildModel, families } from './registry.js';

const build = (values: object) => buildModel(new ModelConfig({ ...values }, 'tiny/config.json'));

const supported = families.map((family) => family.modelType).join(', ');

it('finds the family by model_type, and its first architecture where none is named', () => {
  for (const modelType of ['vit', 'deit']) {
    const model = build({ ...TINY_VIT, model_type: modelType, architectures: [] });
    expect(model).toMatchObject({ family: modelType, classes: 6 });
    expect(model.blocks).toHaveLength(2);
  }
});

it('finds the families of language models likewise', () => {
  for (const modelType of ['llama', 'mistral', 'qwen2', 'qwen3']) {
    const model = build({ ...TINY_LLAMA, model_type: modelType, architectures: [] });
    expect(model).toMatchObject({ family: modelType, task: 'text-generation', vocabulary: 11 });
    expect(model.blocks).toHaveLength(2);
  }
});

it.each<[string, object, string]>([
  ['another family', { model_type: 'bert' }, `"model_type" is "bert"; supported are ${supported}.`],
  ['no family', { model_type: undefined }, '"model_type" is missing.'],
  ['a family of another kind of value', { model_type: 5 }, '"model_type" must be a text, found 5.'],
  [
    'a name that every object has',
    { model_type: 'constructor' },
    `"model_type" is "constructor"; supported are ${supported}.`,
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
    { hidden_act: 'mish' },
    '"hidden_act" is "mish"; supported: silu, swish, gelu, gelu_python, gelu_new, gelu_fast, gelu_accurate, gelu_pytorch_tanh, gelu_python_tanh, quick_gelu, relu.',
  ],
])('refuses %s and says what is supported', (_, change, message) => {
  expect(() => build({ ...TINY_VIT, ...change })).toThrow(new UserError(`tiny/config.json: ${message}`));
});

it('knows each model_type once', () => {
  expect(new Set(families.map((family) => family.modelType)).size).toBe(families.length);
  for (const { architectures } of families) expect(architectures.length).toBeGreaterThan(0);
});
