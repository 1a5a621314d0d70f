import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { writeRandomModel } from '../../test/fixtures.js';
import { complaint, useTemporaryFolder } from '../formats/testing.js';
import {
  evaluationPath,
  keepingPlace,
  listEvaluations,
  readEvaluation,
  saveEvaluation,
} from './evaluations.js';
import { evaluateResult } from './testing.js';

const at = useTemporaryFolder();

/** An evaluation of a model without adapter sets, kept under a name. */
async function saved(name: string): Promise<string> {
  await writeRandomModel(at('model'));
  const request = { model: at('model'), data: at('pictures'), save: name };
  const path = evaluationPath(request)!;
  await keepingPlace(path, () => saveEvaluation(path, request, evaluateResult));
  return path;
}

describe('an evaluation', () => {
  it('is read back as it was kept, with the model it was measured on', async () => {
    const path = await saved('first');
    expect(path).toBe(at('model', 'evaluations', 'first.json'));
    const read = await readEvaluation(path);
    expect(read.result).toEqual(evaluateResult);
    expect(read.model).toMatchObject({ family: 'vit', name: 'model' });
    expect(read.model.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  it('that was kept before any method could be a baseline has its baselines as such', async () => {
    const path = await saved('first');
    const value = JSON.parse(await readFile(path, 'utf8')) as { result: { rows: object[] } };
    const row = { bits: 4, bytes: 9, samples: 8 };
    const against = (kind: string) => [{ label: kind, kind, score: 0.5 }];
    value.result.rows = [
      { ...row, label: 'rounding, rotated', kind: 'rounding' },
      { ...row, label: 'gptq', kind: 'gptq' },
      { ...row, label: 'elastic', kind: 'adapters', against: [...against('rounding'), ...against('gptq')] },
    ];
    await writeFile(path, JSON.stringify(value));
    const { rows } = (await readEvaluation(path)).result;
    expect(rows).toEqual([
      { ...row, label: 'rounding, rotated', kind: 'baseline' },
      { ...row, label: 'gptq', kind: 'baseline' },
      {
        ...{ ...row, label: 'elastic', kind: 'adapters' },
        against: ['rounding', 'gptq'].map((label) => ({ label, kind: 'baseline', score: 0.5 })),
      },
    ]);
  });

  it('is never written over, nor under a name that leaves its folder', async () => {
    await saved('first');
    expect(await complaint(() => saved('first'))).toContain('already holds an evaluation');
    expect(await complaint(() => saved('../first'))).toContain('choose another');
  });

  it('is refused before the work where its place cannot be written, or another writes there', async () => {
    const place = at('model', 'evaluations', 'first.json');
    const work = () => Promise.reject(new Error('It was begun.'));
    await keepingPlace(place, async () => {
      expect(await complaint(() => keepingPlace(place, work))).toMatch(/is being written by process/);
    });
    await writeFile(at('file'), '');
    expect(await complaint(() => keepingPlace(at('file', 'first.json'), work))).toMatch(
      /a file of that name/,
    );
  });

  it.each([
    ['{', 'evaluations'],
    ['{"schemaVersion": 2}', 'this version reads schema 1'],
    ['[]', 'first.json'],
  ])('that is %s is refused', async (text, reason) => {
    const path = await saved('first');
    await writeFile(path, text);
    const message = await complaint(() => readEvaluation(path));
    expect(message).toContain(reason === 'evaluations' ? 'first.json' : reason);
  });

  it.each([
    ['a score outside its range', (rows: Record<string, unknown>[]) => (rows[0]!.top1 = 1.5), 'top1'],
    ['an unknown kind', (rows: Record<string, unknown>[]) => (rows[0]!.kind = 'magic'), 'kind'],
    ['less than a bit', (rows: Record<string, unknown>[]) => (rows[0]!.bits = 0.5), 'bits'],
  ])('with %s is refused, and the place named', async (_, spoil, place) => {
    const path = await saved('first');
    const value = JSON.parse(await readFile(path, 'utf8')) as {
      result: { rows: Record<string, unknown>[] };
    };
    spoil(value.result.rows);
    await writeFile(path, JSON.stringify(value));
    expect(await complaint(() => readEvaluation(path))).toContain(`"${place}"`);
  });
});

describe('listEvaluations', () => {
  it('has the newest first, and a file that cannot be read with its reason', async () => {
    const old = await saved('old');
    const broken = at('model', 'evaluations', 'broken.json');
    await writeFile(broken, '{}');
    await writeFile(at('model', 'evaluations', '.old.json.1-00000000.partial'), 'left behind');
    await utimes(old, 1, 1);
    const found = await listEvaluations([at('model'), at('nowhere')]);
    expect(found.map(({ name, readable }) => [name, readable])).toEqual([
      ['broken', false],
      ['old', true],
    ]);
    expect(found[0]).toMatchObject({ reason: expect.stringContaining('broken.json') as string });
  });

  it('finds none in a folder without any', async () => {
    await mkdir(at('empty'));
    expect(await listEvaluations([at('empty')])).toEqual([]);
  });
});
