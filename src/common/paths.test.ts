import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contains } from './paths.js';

describe('contains', () => {
  it('goes by whole names', () => {
    const within = (path: string) => contains(resolve('/a/b'), resolve(path));
    expect(['/a/b', '/a/b/c', '/a/b/..c', '/a/bc', '/a', '/a/c'].map(within)).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
  });
});
