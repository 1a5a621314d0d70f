import { describe, expect, it } from 'vitest';
import { TINY_LLAMA, TINY_VIT } from '../../test/fixtures.js';
import { stages } from '../../test/stages.js';
import { families } from '../models/registry.js';
import { ModelConfig } from '../models/config.js';
import { buildModel } from '../models/registry.js';
import type { Family } from '../models/family.js';
import { taskOf, tasks } from './registry.js';
import type { Task } from './task.js';

const model = (name: string, config: object, known: readonly Family[] = families) => ({
  name,
  model: buildModel(new ModelConfig({ ...config }, 'config.json'), {}, known),
});
const STAGES = {
  ...{ model_type: 'stages', image_size: 8, hidden_size: 8 },
  id2label: { 0: 'a', 1: 'b' },
};

describe('the task of a model', () => {
  it('is that of its name', () => {
    expect(taskOf(model('vit', TINY_VIT)).name).toBe('image-classification');
    expect(taskOf(model('llama', TINY_LLAMA), { length: 8 }).name).toBe('text-generation');
    expect(taskOf(model('stages', STAGES, [stages])).name).toBe('image-classification');
  });

  it('is one that only a registry names', () => {
    const segmentation = { ...tasks[0]!, name: 'segmentation' };
    const made = model('vit', TINY_VIT);
    const other = { name: 'other', model: { ...made.model, task: 'segmentation' } };
    expect(taskOf(other, {}, [...tasks, segmentation])).toBe(segmentation);
    expect(() => taskOf(other)).toThrow(/^other is for "segmentation", which can be listed and no more\.$/);
  });

  it('refuses a length of pictures', () => {
    expect(() => taskOf(model('vit', TINY_VIT), { length: 8 })).toThrow(
      /^--length is of text; vit is an image classifier\.$/,
    );
  });

  it('refuses a model whose side inputs come with no data, and takes one whose task has them', () => {
    const conditioned = model('stages', { ...STAGES, conditioned: true }, [stages]);
    expect(() => taskOf(conditioned)).toThrow(
      /^stages reads "condition", "mask" beside pictures, which no data comes with yet\.$/,
    );
    const feeding: Task = { ...tasks[0]!, feeds: ['condition', 'mask'] };
    expect(taskOf(conditioned, {}, [feeding])).toBe(feeding);
  });
});
