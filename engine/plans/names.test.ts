import { describe, expect, it } from 'vitest';
import { nameProblem } from './names.js';

describe('nameProblem', () => {
  it.each(['fashion', 'Réseau 4 bits', '4-bit.v2', 'console', 'a.b', 'x'.repeat(200)])('takes %j', (name) => {
    expect(nameProblem(name)).toBeUndefined();
  });

  it.each([
    ['', 'empty'],
    ['  ', 'empty'],
    [' a', 'spaces'],
    ['a ', 'spaces'],
    ['é'.repeat(101), 'long'],
    ['../a', 'characters'],
    ['a\\b', 'characters'],
    ['a\nb', 'characters'],
    ['a\u0000', 'characters'],
    ['a\u007f', 'characters'],
    ['C:', 'characters'],
    ['.hidden', 'dots'],
    ['..', 'dots'],
    ['a.', 'dots'],
    ['NUL', 'reserved'],
    ['com1.json', 'reserved'],
    ['x.PARTIAL', 'partial'],
  ])('of %j is %s', (name, problem) => {
    expect(nameProblem(name)).toBe(problem);
  });
});
