import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SupportedModel } from '../../engine/protocol/protocol.js';
import {
  adaptersFolder,
  remember,
  requestOf,
  setNameProblem,
  standardBits,
  suggestName,
  type Choices,
} from './choices.js';

const model: SupportedModel = {
  path: resolve('/models/vit'),
  name: 'vit',
  supported: true,
  family: 'vit',
  task: 'image-classification',
  blocks: 6,
  layers: 36,
  parameters: 1e6,
  bytes: 4e6,
};
const choices: Choices = {
  model,
  mode: 'weight-activation',
  bits: [8, 4],
  data: '/data',
  device: 'auto',
  length: { kind: 'standard' },
  out: '/out',
};

describe('requestOf', () => {
  const none = { threads: 0, cacheMemory: 0 };
  const common = { mode: 'weight-activation', bits: [8, 4], data: '/data', device: 'auto', out: '/out' };

  it('leaves to the engine what was not chosen', () => {
    expect(requestOf(choices, none)).toEqual({ ...common, model: model.path });
    expect(requestOf(choices, { threads: 3, cacheMemory: 1.5 })).toEqual({
      ...common,
      model: model.path,
      threads: 3,
      cacheMemory: 1_500_000_000,
    });
  });

  it('turns the length into settings', () => {
    expect(requestOf({ ...choices, length: { kind: 'paper' } }, none)).toMatchObject({ recipe: 'paper' });
    const custom = { kind: 'custom', samples: 7, epochs: 9 } as const;
    expect(requestOf({ ...choices, length: custom }, none)).toMatchObject({
      samples: 7,
      options: { epochs: 9 },
    });
    const short = requestOf({ ...choices, length: { kind: 'short' } }, none);
    expect(short.samples! * (short.options!.epochs as number)).toBeLessThan(1000);
  });
});

it('standardBits are those of the engine', () => {
  expect(standardBits('weight-activation')).toEqual([8, 7, 6, 5, 4]);
  expect(standardBits('weight-only')).toEqual([8, 7, 6, 5, 4, 3, 2]);
});

describe('remember', () => {
  it('keeps the latest calibration sets, each once', () => {
    const before = { data: ['/1', '/data', '/2', '/3', '/4'] };
    expect(remember(before, choices)).toEqual({
      mode: 'weight-activation',
      bits: [8, 4],
      length: { kind: 'standard' },
      data: ['/data', '/1', '/2', '/3', '/4'],
    });
    expect(remember(before, { ...choices, data: '/5' }).data).toEqual(['/5', '/1', '/data', '/2', '/3']);
  });
});

describe('names', () => {
  it('are suggested from the bit-widths, and free', () => {
    expect(suggestName([8, 7, 6, 5, 4], [])).toBe('elastic-8-4');
    expect(suggestName([8, 4, 2], [])).toBe('elastic-8-4-2');
    expect(suggestName([8, 4, 2], ['Elastic-8-4-2', 'elastic-8-4-2-2'])).toBe('elastic-8-4-2-3');
  });

  it('are names of folders everywhere, and of no other set', () => {
    const problem = (name: string) => setNameProblem(name, ['Élan']);
    for (const name of ['elastic-8-4', 'bits 4', 'größe']) expect(problem(name)).toBeUndefined();
    expect(problem('a/b')).toBe('characters');
    expect(problem('e\u0301lan')).toBe('taken');
  });
});

describe('adaptersFolder', () => {
  const workspace = [resolve('/models')];
  const cached = resolve('/cache/hub/models--google--vit/snapshots/3f49');

  it('lies beside the weights', () => {
    expect(adaptersFolder(model, workspace)).toBe(join(model.path, 'adapters'));
    expect(adaptersFolder({ ...model, path: resolve('/elsewhere/vit') }, workspace)).toBe(
      resolve('/elsewhere/vit/adapters'),
    );
  });

  it('leaves the Hugging Face cache alone', () => {
    const folder = adaptersFolder({ ...model, path: cached, name: '3f49' }, workspace);
    expect(folder).toBe(resolve('/models/adapters/google--vit'));
    expect(adaptersFolder({ ...model, path: cached }, [])).toBe(join(cached, 'adapters'));
    expect(adaptersFolder({ ...model, path: cached }, [resolve('/cache')])).toBe(join(cached, 'adapters'));
  });
});
