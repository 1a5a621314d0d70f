import { expect, it } from 'vitest';
import { TINY_LLAMA, TINY_VIT } from '../../test/fixtures.js';
import { UserError } from '../errors.js';
import { ModelConfig } from './config.js';
import { requireVision } from './model.js';
import { buildModel } from './registry.js';

const build = (values: object) => buildModel(new ModelConfig({ ...values }, 'config.json'));

it('requireVision gives an image classifier, and refuses a language model by name', () => {
  const vision = build(TINY_VIT);
  expect(requireVision(vision, 'pictures', 'calibrate')).toBe(vision);
  expect(() => requireVision(build(TINY_LLAMA), 'speeches', 'calibrate')).toThrow(
    new UserError('calibrate supports image classifiers so far; speeches is a language model.'),
  );
});
