import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { makeFileAtomic, removeStaleTemporaries, stageFile, writeFileAtomic } from './atomic.js';
import { complaint, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();

async function* pieces(...texts: (string | Error)[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) {
    if (text instanceof Error) throw text;
    yield await Promise.resolve(Buffer.from(text));
  }
}

describe('writeFileAtomic', () => {
  it.each([
    ['text', () => 'häuser'],
    ['bytes', () => Buffer.from('häuser')],
    ['pieces', () => pieces('hä', 'user')],
  ])('replaces a file by %s and leaves nothing else', async (_, data) => {
    await writeFile(at('a'), 'old');
    await writeFileAtomic(at('a'), data());
    expect(await readFile(at('a'), 'utf8')).toBe('häuser');
    expect(await readdir(at())).toEqual(['a']);
  });

  it('keeps the old file and no temporary when the source fails half-way', async () => {
    await writeFile(at('a'), 'old');
    await expect(writeFileAtomic(at('a'), pieces('new', new Error('no more')))).rejects.toThrow('no more');
    expect(await readFile(at('a'), 'utf8')).toBe('old');
    expect(await readdir(at())).toEqual(['a']);
  });

  it('explains a missing folder and a folder in the way', async () => {
    expect(await complaint(() => writeFileAtomic(at('none', 'a'), ''))).toMatch(/^Cannot write .*no such/);
    await mkdir(at('folder', 'full'), { recursive: true });
    expect(await complaint(() => writeFileAtomic(at('folder'), ''))).toMatch(/^Cannot write .*folder/);
    expect(await readdir(at())).toEqual(['folder']);
  });
});

describe('makeFileAtomic', () => {
  it('replaces nothing, what came to be there meanwhile neither', async () => {
    await makeFileAtomic(at('a'), pieces('o', 'ne'));
    expect(await complaint(() => makeFileAtomic(at('a'), 'two'))).toContain('is there already');
    expect(await readFile(at('a'), 'utf8')).toBe('one');
    async function* slow() {
      yield Buffer.from('mi');
      await writeFile(at('b'), 'theirs');
      yield Buffer.from('ne');
    }
    expect(await complaint(() => makeFileAtomic(at('b'), slow()))).toContain('is there already');
    expect(await readFile(at('b'), 'utf8')).toBe('theirs');
    expect((await readdir(at())).sort()).toEqual(['a', 'b']);
  });
});

describe('stageFile', () => {
  it('shows nothing before commit, and nothing after discard', async () => {
    const staged = await stageFile(at('a'), 'new');
    expect(await readdir(at())).not.toContain('a');
    await staged.discard();
    expect(await readdir(at())).toEqual([]);
  });
});

describe('removeStaleTemporaries', () => {
  const dead = 2 ** 22 + 1;

  it('removes what a killed process left, and not what a living one is writing', async () => {
    const staged = await stageFile(at('a'), 'new');
    await writeFile(at(`.a.${dead}-0123abcd.partial`), '');
    await writeFile(at('.b.partial'), '');
    expect(await removeStaleTemporaries(at())).toEqual([`.a.${dead}-0123abcd.partial`]);
    await staged.commit();
    expect((await readdir(at())).sort()).toEqual(['.b.partial', 'a']);
  });

  it('keeps what a living process owns, whatever its age', async () => {
    const name = `.a.${process.pid}-0123abcd.partial`;
    await writeFile(at(name), '');
    const longAgo = new Date(Date.now() - 48 * 60 * 60 * 1000);
    await utimes(at(name), longAgo, longAgo);
    expect(await removeStaleTemporaries(at())).toEqual([]);
    expect(await readdir(at())).toEqual([name]);
  });

  it('finds nothing in a folder that is not there', async () => {
    expect(await removeStaleTemporaries(at('none'))).toEqual([]);
  });
});
