import { describe, expect, it } from 'vitest';
import { parsePlan, resolvePlan, type PlanReading } from './plan.js';

const said = (text: string, { problems }: Pick<PlanReading, 'problems'>) =>
  problems.map(({ kind, offset, length }) => `${kind} ${text.slice(offset, offset + length)}`);

describe('parsePlan', () => {
  it('reads what a plan holds', () => {
    const text =
      '{ "$schema": "s", "model": "../m", "adapters": "../m/a", "default": 4, "layers": { "a.*": 3, "b": 8 } }';
    const { plan, problems, places } = parsePlan(text);
    expect(problems).toEqual([]);
    expect(plan).toEqual({
      ...{ $schema: 's', model: '../m', adapters: '../m/a', default: 4, layers: { 'a.*': 3, b: 8 } },
    });
    const { offset, length } = places.layers.get('a.*')!;
    expect(text.slice(offset, offset + length)).toBe('"a.*"');
  });

  it('needs no layers, and passes over keys that it does not know', () => {
    expect(parsePlan('{ "default": 4, "note": [1] }').plan).toEqual({ default: 4, layers: {} });
  });

  it('takes fractions of a bit', () => {
    expect(parsePlan('{ "default": 1, "layers": { "a": 2.3 } }').plan).toEqual({
      default: 1,
      layers: { a: 2.3 },
    });
  });

  it.each([
    ['', 'syntax '],
    ['{ "default": 4, }', 'syntax }'],
    ['{ "default": 4 /* four */ }', 'syntax /* four */'],
    ['{ "default": 4 } {}', 'syntax {'],
    ['[]', 'shape []'],
    ['{}', 'shape {'],
    ['{ "default": 0.9 }', 'shape 0.9'],
    ['{ "default": 8.5 }', 'shape 8.5'],
    ['{ "default": "4" }', 'shape "4"'],
    ['{ "default": 9 }', 'shape 9'],
    ['{ "default": 4, "layers": { "a": 0 } }', 'shape 0'],
    ['{ "default": 4, "layers": { "a": 2, "a": 3 } }', 'shape "a"'],
    ['{ "default": 4, "layers": { "__proto__": 2 } }', 'shape "__proto__"'],
    ['{ "default": 4, "layers": [] }', 'shape []'],
    ['{ "default": 4, "model": "/m" }', 'shape "/m"'],
    ['{ "default": 4, "model": "C:/m" }', 'shape "C:/m"'],
    ['{ "default": 4, "adapters": "" }', 'shape ""'],
    ['{ "default": 4, "adapters": "a\\u0000" }', 'shape "a\\u0000"'],
  ])('%s is no plan: %s', (text, problem) => {
    const reading = parsePlan(text);
    expect(reading.plan).toBeUndefined();
    expect(said(text, reading)[0]).toBe(problem);
  });

  it('refuses nesting without end in one line', () => {
    const { problems } = parsePlan('['.repeat(500_000));
    expect(problems).toHaveLength(1);
  });

  it('takes any nesting that it reads, and no more, however much of the stack is in use', () => {
    const nested = (depth: number) =>
      parsePlan(`{"default": 8, "other": ${'['.repeat(depth)}${']'.repeat(depth)}}`);
    expect(nested(250).plan).toBeDefined();
    expect(nested(2000).plan).toBeUndefined();
    const quoted = JSON.stringify({ default: 8, other: `"${'['.repeat(2000)}` });
    expect(parsePlan(quoted).plan).toBeDefined();
  });
});

describe('resolvePlan', () => {
  const layers = ['x.0.q', 'x.0.k', 'x.1.q', 'x.1.k'];
  const bits = [2, 3, 4, 6, 8];
  const resolve = (text: string) => {
    const { plan, places } = parsePlan(text);
    return resolvePlan(plan!, layers, bits, places);
  };

  it('lets a name win over a pattern, and a pattern over the default', () => {
    const found = resolve('{ "default": 4, "layers": { "x.*.q": 3, "x.1.q": 8 } }');
    expect(found).toEqual({
      bits: [3, 4, 8, 4],
      from: ['x.*.q', undefined, 'x.1.q', undefined],
      problems: [],
    });
  });

  it('tells of keys that match nothing and of widths that are not offered', () => {
    const text = '{ "default": 5, "layers": { "y.*": 3, "x.2.q": 3, "x.0.q": 7 } }';
    expect(said(text, resolve(text))).toEqual(['bits 5', 'layer "y.*"', 'layer "x.2.q"', 'bits "x.0.q"']);
  });

  it('says what may have been meant', () => {
    const names = ['encoder.0.query', 'encoder.0.key', 'encoder.1.query'];
    const messageOf = (key: string) => {
      const { plan, places } = parsePlan(JSON.stringify({ default: 4, layers: { [key]: 4 } }));
      return resolvePlan(plan!, names, bits, places).problems[0]?.message;
    };
    expect(messageOf('encoder.1.qery')).toBe(
      'There is no layer "encoder.1.qery". Did you mean "encoder.1.query"?',
    );
    expect(messageOf('decoder.attention')).toBe('There is no layer "decoder.attention".');
    expect(messageOf('*.query')).toBe(
      'No layer matches "*.query". * does not match a dot, ** does: "**.query".',
    );
    expect(messageOf('*.value')).toBe('No layer matches "*.value".');
    const huge = { [`${'x'.repeat(90_000)}`]: 4 };
    const { plan } = parsePlan(JSON.stringify({ default: 4, layers: huge }));
    const long = Array.from({ length: 40 }, (_, i) => `${'x'.repeat(90_000)}${i}`);
    expect(resolvePlan(plan!, long, bits).problems[0]!.message).not.toContain('Did you mean');
  });

  it('takes the bit-widths that are offered, whatever they are', () => {
    const text = '{ "default": 2.3, "layers": { "x.0.q": 1.08, "x.1.q": 2 } }';
    const { plan, places } = parsePlan(text);
    const found = resolvePlan(plan!, layers, [1.08, 2.3, 4], places);
    expect(found.bits).toEqual([1.08, 2.3, 2, 2.3]);
    expect(said(text, found)).toEqual(['bits "x.1.q"']);
    expect(found.problems[0]!.message).toBe('2 bits are not offered; there are 1.08, 2.3, 4.');
    const one = resolvePlan(parsePlan('{ "default": 1 }').plan!, layers, bits);
    expect(one.problems[0]!.message).toBe('1 bit is not offered; there are 2, 3, 4, 6, 8.');
  });

  it('says nothing of a default that decides no layer', () => {
    expect(resolve('{ "default": 5, "layers": { "**": 3 } }').problems).toEqual([]);
  });

  it('tells of patterns that contradict each other, unless a name decides', () => {
    const clash = '{ "default": 4, "layers": { "x.0.*": 3, "**.q": 2 } }';
    expect(said(clash, resolve(clash))).toEqual(['contradiction "**.q"']);
    expect(resolve(clash).bits).toEqual([3, 3, 2, 4]);
    expect(resolve('{ "default": 4, "layers": { "x.0.*": 3, "**.q": 2, "x.0.q": 8 } }').problems).toEqual([]);
    expect(resolve('{ "default": 4, "layers": { "x.0.*": 3, "**.q": 3 } }').problems).toEqual([]);
  });
});

describe('the bound on work', () => {
  it('refuses a text, a pattern, and patterns on layers that are too long', () => {
    const long = parsePlan(`{"default": 4, "x": [${'[],'.repeat(1 << 20)}[]]}`);
    expect(long.problems.map(({ message }) => message)).toEqual(['This is too long for a precision plan.']);
    const pattern = parsePlan(JSON.stringify({ default: 4, layers: { [`*${'a'.repeat(1000)}`]: 4 } }));
    expect(pattern.problems.map(({ message }) => message)).toEqual([
      'A pattern has at most 1000 characters.',
    ]);
    const globs = Array.from({ length: 50_000 }, (_, i) => [`**a**${i}`, 4]);
    const { plan } = parsePlan(JSON.stringify({ default: 3, layers: Object.fromEntries(globs) as object }));
    const { bits, problems } = resolvePlan(plan!, ['a', 'b'], [3, 4]);
    expect(bits).toEqual([3, 3]);
    expect(problems.map(({ message }) => message)).toEqual([
      'Its patterns are too many for this model; name layers themselves, or use fewer.',
    ]);
  });
});
