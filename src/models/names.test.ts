import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { modelName, nameWithin } from './names.js';

describe('modelName', () => {
  it('is the name of the folder', () => {
    expect(modelName({ path: join('/checkpoints', 'vit'), name: 'vit' })).toBe('vit');
  });

  it('is the repository in the Hugging Face cache', () => {
    const path = join('/cache', 'hub', 'models--google--vit-base-patch16-224', 'snapshots', '3f49');
    expect(modelName({ path, name: '3f49' })).toBe('google/vit-base-patch16-224');
    const single = join('/cache', 'hub', 'models--gpt2', 'snapshots', '3f49');
    expect(modelName({ path: single, name: '3f49' })).toBe('gpt2');
  });

  it('is the name of the folder where only the parent looks like the cache', () => {
    expect(modelName({ path: join('/a', 'b', 'snapshots', 'vit'), name: 'vit' })).toBe('vit');
  });
});

describe('nameWithin', () => {
  it('drops the block, and only the block', () => {
    expect(nameWithin('layer.1', 'layer.1.attention.query')).toBe('attention.query');
    expect(nameWithin('layer.1', 'layer.10.attention.query')).toBe('layer.10.attention.query');
    expect(nameWithin('layer.1', 'classifier')).toBe('classifier');
  });
});
