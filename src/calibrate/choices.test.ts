import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { MethodOptionReport, MethodReport, SupportedModel } from '../../engine/protocol/protocol.js';
import {
  adaptersFolder,
  choicesOf,
  chosenMethod,
  isUsual,
  lengthsOf,
  methodChoices,
  parseOption,
  remember,
  requestOf,
  setNameProblem,
  settableOptions,
  suggestName,
  usualBits,
  withOption,
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
  warnings: [],
};
const option = (name: string, value = 'n', choices?: readonly string[]): MethodOptionReport => ({
  name,
  value,
  help: '',
  ...(choices && { choices }),
});
const quept: MethodReport = {
  name: 'quept',
  title: 'QuEPT',
  description: '',
  modes: [
    { mode: 'weight-only', bits: [8, 7, 6, 5, 4, 3, 2], allowed: [8, 7, 6, 5, 4, 3, 2], samples: 128 },
    { mode: 'weight-activation', bits: [8, 7, 6, 5, 4], allowed: [8, 7, 6, 5, 4], samples: 128 },
  ],
  recipes: ['default', 'paper'],
  options: [option('epochs'), option('groups', 'list'), option('guard', 'on|off', ['on', 'off'])],
  extremes: [],
  baseline: false,
};
const gptq: MethodReport = {
  ...quept,
  name: 'gptq',
  title: 'GPTQ',
  modes: [{ mode: 'weight-only', bits: [8, 4], allowed: [8, 4], samples: 128 }],
  recipes: ['default'],
  options: [option('groupSize')],
  baseline: true,
};
const rounding: MethodReport = {
  ...gptq,
  name: 'rounding',
  title: 'Rounding',
  modes: [{ mode: 'weight-only', bits: [8, 4], allowed: [8, 4], samples: 0 }],
};
const choices: Choices = {
  model,
  method: quept,
  mode: quept.modes[1]!,
  bits: [8, 4],
  data: '/data',
  device: 'auto',
  length: { kind: 'standard' },
  options: {},
};

describe('choicesOf', () => {
  const answers = { model, methods: [quept, gptq, rounding], bits: [8, 4], data: '/data' };

  it('takes what stands first where nothing was asked', () => {
    expect(choicesOf(answers)).toMatchObject({ method: quept, mode: quept.modes[0], device: 'auto' });
    expect(choicesOf({ model, methods: [gptq] })).toMatchObject({ method: gptq, bits: [8, 4] });
  });

  it('knows whether the method is the usual one, which stands first', () => {
    expect(isUsual(answers)).toBe(true);
    expect(isUsual({ ...answers, method: 'quept' })).toBe(true);
    expect(isUsual({ ...answers, method: 'gptq' })).toBe(false);
    expect(isUsual({ ...answers, methods: [gptq, quept], method: 'quept' })).toBe(false);
  });

  it('drops answers that the method has no use for', () => {
    const earlier = { ...answers, mode: 'weight-activation', length: { kind: 'paper' } } as const;
    expect(choicesOf({ ...earlier, method: 'gptq' })).toMatchObject({
      mode: gptq.modes[0],
      data: '/data',
      length: { kind: 'standard' },
    });
    const custom = { kind: 'custom', samples: 7, epochs: 9 } as const;
    const rounded = choicesOf({ ...earlier, method: 'rounding', length: custom });
    expect(rounded.length).toEqual({ kind: 'standard' });
    expect(rounded).not.toHaveProperty('data');
  });
});

describe('lengthsOf', () => {
  it('has the paper and amounts of samples only where the method has them', () => {
    expect(lengthsOf(quept, quept.modes[0]!)).toEqual(['standard', 'short', 'paper', 'custom']);
    expect(lengthsOf(gptq, gptq.modes[0]!)).toEqual(['standard', 'short', 'custom']);
    expect(lengthsOf(rounding, rounding.modes[0]!)).toEqual(['standard']);
  });
});

describe('requestOf', () => {
  const none = { threads: 0, cacheMemory: 0 };
  const common = {
    ...{ model: model.path, method: 'quept', mode: 'weight-activation', bits: [8, 4] },
    ...{ data: '/data', device: 'auto', out: '/out' },
  };
  const ask = (more: Partial<Choices>) => requestOf({ ...choices, ...more }, none, '/out');

  it('leaves to the engine what was not chosen', () => {
    expect(ask({})).toEqual(common);
    expect(requestOf(choices, { threads: 3, cacheMemory: 1.5 }, '/out')).toEqual({
      ...common,
      threads: 3,
      cacheMemory: 1_500_000_000,
    });
  });

  it('turns the length into settings', () => {
    expect(ask({ length: { kind: 'paper' } })).toMatchObject({ recipe: 'paper' });
    const custom = { kind: 'custom', samples: 7, epochs: 9 } as const;
    expect(ask({ length: custom })).toMatchObject({ samples: 7, options: { epochs: 9 } });
    const short = ask({ length: { kind: 'short' } });
    expect(short.samples! * (short.options!.epochs as number)).toBeLessThan(1000);
    const direct = { ...gptq, name: 'direct', options: [option('effort', 'name', ['quick', 'default'])] };
    const trial = { method: direct, mode: gptq.modes[0]!, length: { kind: 'short' } } as const;
    expect(ask(trial).options).toEqual({ effort: 'quick' });
    expect(ask({ ...trial, options: { effort: 'default' } }).options).toEqual({ effort: 'default' });
    expect(ask({ ...trial, method: gptq })).not.toHaveProperty('options');
  });

  it('sends options of the method, and no epochs to one that has none', () => {
    expect(ask({ options: { guard: 'off' } }).options).toEqual({ guard: 'off' });
    const length = { kind: 'custom', samples: 7, epochs: 9 } as const;
    expect(ask({ length, options: { epochs: 3 } }).options).toEqual({ epochs: 3 });
    const own = { method: gptq, mode: gptq.modes[0]! };
    expect(ask({ ...own, length })).toEqual({ ...common, method: 'gptq', mode: 'weight-only', samples: 7 });
  });
});

describe('options', () => {
  it('are those that a line can set', () => {
    expect(settableOptions(quept).map(({ name }) => name)).toEqual(['epochs', 'guard']);
  });

  it('are read from text by their kind', () => {
    expect(parseOption(option('epochs'), '12')).toBe(12);
    expect(parseOption(option('rank'), '16, 32')).toEqual([16, 32]);
    expect(parseOption(option('rate', 'x'), '1e-3')).toBe(0.001);
    expect(parseOption(option('guard', 'on|off', ['on', 'off']), 'off')).toBe('off');
    for (const [kind, text] of [
      ['n', '1.5'],
      ['n', 'many'],
      ['n', '16,'],
      ['x', '-'],
    ])
      expect(parseOption(option('any', kind), text!)).toBeUndefined();
  });

  it('are set, and set back to the standard', () => {
    expect(withOption({ a: 1 }, 'b', 2)).toEqual({ a: 1, b: 2 });
    expect(withOption({ a: 1, b: 2 }, 'b', undefined)).toEqual({ a: 1 });
  });
});

describe('remember', () => {
  it('keeps the latest calibration sets, each once', () => {
    const before = { data: ['/1', '/data', '/2', '/3', '/4'] };
    expect(remember(before, choices)).toEqual({
      method: 'quept',
      mode: 'weight-activation',
      bits: [8, 4],
      length: { kind: 'standard' },
      data: ['/data', '/1', '/2', '/3', '/4'],
    });
    expect(remember(before, { ...choices, data: '/5' }).data).toEqual(['/5', '/1', '/data', '/2', '/3']);
    const { data: _, ...without } = choices;
    expect(remember(before, without).data).toEqual(before.data);
  });

  it('offers bit-widths again to the same method and mode alone', () => {
    const [only, both] = quept.modes;
    const before = { mode: 'weight-activation', bits: [8, 4] } as const;
    expect(usualBits(before, quept, both!)).toEqual([8, 4]);
    expect(usualBits({ ...before, method: 'gptq' }, quept, both!)).toEqual(both!.bits);
    expect(usualBits(before, quept, only!)).toEqual(only!.bits);
  });
});

describe('names', () => {
  it('are suggested from the bit-widths, and free', () => {
    expect(suggestName(undefined, [8, 7, 6, 5, 4], [])).toBe('elastic-4to8');
    expect(suggestName(undefined, [8, 4, 2], [])).toBe('elastic-8-4-2');
    expect(suggestName(undefined, [8, 4, 2], ['Elastic-8-4-2', 'elastic-8-4-2-v2'])).toBe('elastic-8-4-2-v3');
    expect(suggestName('gptq', [8, 7, 6, 5, 4, 3, 2], ['elastic-2to8'])).toBe('gptq-2to8');
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

describe('methods to choose from', () => {
  const direct: MethodReport = {
    ...gptq,
    name: 'direct',
    title: 'Direct',
    modes: [{ mode: 'weight-only', bits: [8, 4], allowed: [8, 4, 2, 1], samples: 128 }],
    options: [option('effort', 'quick|high', ['quick', 'high'])],
    extremes: [{ bits: [2, 1], options: { effort: 'high' } }],
  };
  const offered = methodChoices([direct, quept, gptq, rounding]);
  const extreme = offered.find(({ way }) => way === 'extreme')!;

  it('stand by what they take, those without data last', () => {
    expect(offered.map(({ way, method }) => `${way} ${method.name}`)).toEqual([
      'computed direct',
      'computed gptq',
      'learned quept',
      'extreme direct',
      'dataless rounding',
    ]);
    expect(methodChoices([rounding]).map(({ way }) => way)).toEqual(['dataless']);
  });

  it('bring bit-widths and options where they are extreme, and leave those that a method has', () => {
    const answers = { model, methods: [direct, quept, gptq, rounding], bits: [8, 4] };
    const chosen = chosenMethod(answers, extreme);
    expect(chosen).toEqual({ method: 'direct', bits: [2, 1], options: { effort: 'high' } });
    expect(chosenMethod({ ...answers, ...chosen }, offered[1]!)).toEqual({
      method: 'gptq',
      bits: [8, 4],
      options: {},
    });
    expect(chosenMethod(answers, offered[1]!)).toEqual({ method: 'gptq', options: {} });
    // The same again keeps its options.
    const own = { ...answers, method: 'gptq', options: { groupSize: 64 } };
    expect(chosenMethod(own, offered[1]!)).toEqual({});
  });

  it('go back from extreme bit-widths to the same method as it usually is', () => {
    const answers = { model, methods: [direct], ...chosenMethod({ model, methods: [direct] }, extreme) };
    expect(chosenMethod(answers, offered[0]!)).toEqual({ method: 'direct', bits: [8, 4], options: {} });
  });
});
