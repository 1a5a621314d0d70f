import { describe, expect, it } from 'vitest';
import { applyEdits, editPath, editPlan, editWholePlan } from './edit.js';
import { parsePlan, resolvePlan } from './plan.js';

const layers = ['a', 'b', 'c', 'd', 'e'];
const bits = [2, 3, 4, 5, 6, 7, 8];

const edited = (text: string, changes: Record<string, number>) =>
  applyEdits(text, editPlan(text, new Map(Object.entries(changes)), layers));
const resolved = (text: string) => resolvePlan(parsePlan(text).plan!, layers, bits).bits.join('');

const plan = (entries: readonly string[]) =>
  entries.length === 0
    ? '{\n  "default": 4,\n  "layers": {}\n}\n'
    : `{\n  "default": 4,\n  "layers": {\n    ${entries.join(',\n    ')}\n  }\n}\n`;

describe('editPlan', () => {
  it('replaces no more than a number', () => {
    const text = plan(['"a": 3', '"b": 2']);
    const edits = editPlan(text, new Map([['b', 8]]), layers);
    expect(edits).toEqual([{ offset: text.indexOf('2'), length: 1, text: '8' }]);
  });

  it('leaves a text alone that says so already', () => {
    expect(editPlan(plan(['"a": 3']), new Map([['a', 3], ['b', 4]]), layers)).toEqual([]); // prettier-ignore
  });

  it.each([
    ['adds after the entry before it in the model', ['"a": 3', '"e": 2'], { c: 8 }, ['"a": 3', '"c": 8', '"e": 2']],
    ['adds before the first', ['"c": 3'], { a: 8, b: 2 }, ['"a": 8', '"b": 2', '"c": 3']],
    ['adds after globs', ['"x*": 3'], { a: 8 }, ['"x*": 3', '"a": 8']],
    ['adds to none', [], { a: 8, b: 2 }, ['"a": 8', '"b": 2']],
    ['removes what the default gives', ['"a": 3', '"b": 2', '"c": 8'], { b: 4 }, ['"a": 3', '"c": 8']],
    ['removes the first', ['"a": 3', '"b": 2'], { a: 4 }, ['"b": 2']],
    ['removes the last ones', ['"a": 3', '"b": 2', '"c": 2'], { b: 4, c: 4 }, ['"a": 3']],
    ['does it all at once', ['"a": 3', '"b": 2', '"d": 2'], { a: 4, b: 8, c: 8, d: 4, e: 2 }, ['"b": 8', '"c": 8', '"e": 2']],
    ['changes places', ['"b": 2'], { a: 3, b: 4, c: 2 }, ['"a": 3', '"c": 2']],
  ])('%s', (_, before, changes, after) => expect(edited(plan(before), changes)).toBe(plan(after))); // prettier-ignore

  it('leaves no entry behind', () => {
    expect(edited(plan(['"a": 3']), { a: 4 })).toBe('{\n  "default": 4,\n  "layers": {}\n}\n');
  });

  it('puts the bits of a layer that a glob has into an entry, and back', () => {
    const text = plan(['"?": 3']);
    expect(edited(text, { b: 8 })).toBe(plan(['"?": 3', '"b": 8']));
    expect(edited(edited(text, { b: 8 }), { b: 3 })).toBe(text);
  });

  it('names a layer whose globs contradict each other', () => {
    const text = plan(['"?": 3', '"*": 2']);
    expect(edited(text, { a: 3 })).toBe(plan(['"?": 3', '"*": 2', '"a": 3']));
  });

  it('keeps the line ends and the layout there are', () => {
    expect(edited('{"default": 4,\r\n\t"layers": {\r\n\t\t"a": 3\r\n\t}\r\n}', { b: 2 })).toBe(
      '{"default": 4,\r\n\t"layers": {\r\n\t\t"a": 3,\r\n\t\t"b": 2\r\n\t}\r\n}',
    );
    expect(edited('{ "default": 4, "layers": { "a": 3 } }', { b: 2 })).toBe(
      '{ "default": 4, "layers": { "a": 3, "b": 2 } }',
    );
  });

  it('makes the object where there is none', () => {
    expect(edited('{\n  "default": 4\n}\n', { b: 2 })).toBe(
      '{\n  "default": 4,\n  "layers": {\n    "b": 2\n  }\n}\n',
    );
    expect(edited('{\n  "default": 4,\n  "layers": {}\n}\n', { b: 2 })).toBe(plan(['"b": 2']));
  });

  it('does nothing to a text that is no plan', () => {
    expect(editPlan('{ "default": ', new Map([['a', 3]]), layers)).toEqual([]);
  });

  it('makes any bits of any text, and no other layer changes', () => {
    let seed = 7;
    const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
    for (let round = 0; round < 400; round++) {
      const keys = [...layers, '*', '?', 'a*'].filter(() => random(2) === 0);
      const text = plan(keys.map((key) => `"${key}": ${2 + random(3)}`));
      const changes = Object.fromEntries(
        layers.filter(() => random(2) === 0).map((layer) => [layer, 2 + random(7)]),
      );
      const wanted = layers.map((layer, i) => changes[layer] ?? resolved(text)[i]).join('');
      const after = edited(text, changes);
      expect(parsePlan(after).problems, text).toEqual([]);
      expect(resolved(after), `${text} ${JSON.stringify(changes)}`).toBe(wanted);
    }
  });
});

describe('editWholePlan', () => {
  const whole = (text: string, all: number[]) => applyEdits(text, editWholePlan(text, all, layers));

  it('writes uniform bits as the default alone', () => {
    expect(whole(plan(['"a": 3', '"b*": 2']), [6, 6, 6, 6, 6])).toBe(
      '{\n  "default": 6,\n  "layers": {}\n}\n',
    );
  });

  it('writes mixed bits as entries', () => {
    expect(whole(plan(['"a": 3']), [4, 4, 8, 4, 2])).toBe(plan(['"c": 8', '"e": 2']));
  });

  it('is quick with ten thousand layers', () => {
    const many = Array.from({ length: 10_000 }, (_, i) => `layer.${i}`);
    const text = plan(many.map((name) => `"${name}": 3`));
    const wanted = many.map((_, i) => 2 + (i % 3));
    const after = applyEdits(text, editWholePlan(text, wanted, many));
    expect(resolvePlan(parsePlan(after).plan!, many, bits).bits).toEqual(wanted);
  });
});

describe('editPath', () => {
  it('names model and adapter set before everything else', () => {
    const text = '{\n  "default": 4\n}\n';
    const named = applyEdits(text, editPath(text, 'model', '../m'));
    const both = applyEdits(named, editPath(named, 'adapters', '../m/adapters/a'));
    expect(both).toBe('{\n  "model": "../m",\n  "adapters": "../m/adapters/a",\n  "default": 4\n}\n');
    expect(parsePlan(applyEdits(both, editPath(both, 'model', 'n'))).plan?.model).toBe('n');
  });

  it.each([
    ['{"default":8}'],
    ['{ "layers": {}, "default": 8 }'],
    ['\t{\r\n\t"default": 8\r\n}'],
    [`{"default":8,"x":${'['.repeat(99)}1${']'.repeat(99)}}`],
  ])('into any text that is a plan: %s', (text) => {
    const written = ['adapters', 'model', 'adapters'] as const;
    const edited = written.reduce((before, key) => applyEdits(before, editPath(before, key, '../"x"')), text);
    expect(parsePlan(edited).plan).toEqual({
      ...parsePlan(text).plan,
      model: '../"x"',
      adapters: '../"x"',
    });
  });
});
