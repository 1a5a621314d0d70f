import { describe, expect, it } from 'vitest';
import { circlesOf, importsOf } from '../scripts/circles.mjs';

describe('importsOf', () => {
  const files = new Set(['a/x.ts', 'a/y.ts', 'b/z.ts', 'b/z.test.ts']);
  const imports = (text: string) => importsOf('a/x.ts', text, (path) => files.has(path));

  it.each([
    ["import { y } from './y.js';", ['a/y.ts']],
    ["import type { Y } from './y.js';", ['a/y.ts']],
    ["export { y } from './y.js';\nexport * from '../b/z.js';", ['a/y.ts', 'b/z.ts']],
    ["import './y.js';", ['a/y.ts']],
    ["const late = () => import('./y.js');", ['a/y.ts']],
    ["type Y = import('./y.js').Y;", ['a/y.ts']],
    ["import { y } from './y.js';\nimport type { Y } from './y.js';", ['a/y.ts']],
    ["import fs from 'node:fs';\nimport css from './x.css';\nimport { gone } from './gone.js';", []],
    ["// import { y } from './y.js';\nconst text = \"import './y.js'\";", []],
  ])('of %j are %j', (text, found) => {
    expect(imports(text)).toEqual(found);
  });
});

describe('circlesOf', () => {
  const graph = (edges: Record<string, string>) =>
    new Map(Object.entries(edges).map(([node, next]) => [node, [...next]]));

  it('finds none where files lead to each other on several ways, but not back', () => {
    expect(circlesOf(graph({ a: 'bc', b: 'd', c: 'd', d: '' }))).toEqual([]);
  });

  it('finds each circle once, with what hangs on it left out', () => {
    expect(circlesOf(graph({ z: 'a', a: 'b', b: 'c', c: 'ad', d: '', p: 'q', q: 'p' }))).toEqual([
      ['a', 'b', 'c'],
      ['p', 'q'],
    ]);
  });

  it('joins circles that share a file, and finds a file that imports itself', () => {
    expect(circlesOf(graph({ a: 'b', b: 'ac', c: 'b', s: 's' }))).toEqual([['a', 'b', 'c'], ['s']]);
  });
});
