import { describe, expect, it } from 'vitest';
import { canMatch, compileGlob, isGlob } from './globs.js';

const matches = (glob: string, name: string) => compileGlob(glob)(name);

describe('isGlob', () => {
  it('is true where a star or a question mark stands', () => {
    expect(['a.b', 'a.*', 'a?', '**'].map(isGlob)).toEqual([false, true, true, true]);
  });
});

describe('compileGlob', () => {
  it.each([
    ['model.layers.*.mlp.down_proj', 'model.layers.12.mlp.down_proj', true],
    ['model.layers.*.mlp.down_proj', 'model.layers.12.mlp.up_proj', false],
    ['model.layers.*', 'model.layers.1.mlp', false],
    ['model.layers.**', 'model.layers.1.mlp', true],
    ['**.q_proj', 'model.layers.1.self_attn.q_proj', true],
    ['**', '', true],
    ['a.?', 'a.b', true],
    ['a?b', 'a.b', false],
    ['a.?', 'a.', false],
    ['*', 'a', true],
    ['*', 'a.b', false],
    ['a*', 'a', true],
    ['a', 'ab', false],
    ['b', 'ab', false],
    ['a+b', 'aab', false],
    ['?', '💡', true],
  ])('%s on %s: %s', (glob, name, expected) => expect(matches(glob, name)).toBe(expected));

  it('agrees with the regular expression that it stands for, on all short names', () => {
    const letters = ['a', 'b', '.'];
    const names = [0, 1, 2, 3, 4].flatMap((length) => words(letters, length));
    for (const glob of [1, 2, 3, 4].flatMap((length) => words(['a', '.', '*', '?'], length))) {
      const source = glob.replace(/\*\*+|[*?.]/g, (mark) =>
        mark.length > 1 ? '.*' : { '*': '[^.]*', '?': '[^.]', '.': '\\.' }[mark]!,
      );
      const pattern = new RegExp(`^${source}$`);
      const match = compileGlob(glob);
      expect(names.filter(match), glob).toEqual(names.filter((name) => pattern.test(name)));
    }
  });

  it('is quick where a backtracking search would not end', () => {
    expect(matches(`${'**a'.repeat(40)}b`, 'a'.repeat(400))).toBe(false);
  });
});

describe('the bound on work', () => {
  it('knows no length of a word of states', () => {
    for (const length of [30, 31, 32, 33, 62, 63, 64, 65, 100]) {
      const name = 'ab'.repeat(60).slice(0, length);
      expect(matches(name, name)).toBe(true);
      expect(matches(`${name}*`, name)).toBe(true);
      expect(matches(`*${name}?`, `${name}${name}c`)).toBe(true);
      expect(matches(`*${name}`, `${name}a.${name}`)).toBe(false);
      expect(matches(`**${name}`, `${name}a.${name}`)).toBe(true);
      expect(matches(name, name.slice(1))).toBe(false);
    }
  });

  it('lets a plan of many layers and patterns be matched, and no more than that', () => {
    const names = Array.from({ length: 1000 }, (_, i) => `model.layers.${i}.self_attn.q_proj`);
    const globs = Array.from({ length: 1000 }, (_, i) => `model.layers.${i}.**`);
    expect(canMatch(globs, names)).toBe(true);
    expect(canMatch(Array<string>(10_000).fill('**a'), names)).toBe(false);
    expect(canMatch(Array<string>(100_000).fill('**a'), ['a'])).toBe(false);
  });
});

const words = (letters: readonly string[], length: number): string[] =>
  length === 0 ? [''] : words(letters, length - 1).flatMap((word) => letters.map((letter) => word + letter));
