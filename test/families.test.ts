/**
 * Small random checkpoints of model families with the logits that the reference library computed, in the keys and names of both
 * generations: each agrees, or is refused in one line. `FAMILIES_DIR` names another folder of the layout of `families/`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../engine/errors.js';
import { openPlainModel, type RunnableModel } from '../engine/execution/model.js';
import { openSafetensors, type TensorSource } from '../engine/formats/safetensors.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import { usePrograms } from '../engine/execution/testing.js';
import { temporaryFolder } from './fixtures.js';
import { REFUSED } from './families-refused.js';

const goldens = process.env.FAMILIES_DIR ?? fileURLToPath(new URL('families', import.meta.url));
const names = Object.keys(JSON.parse(readFileSync(join(goldens, 'cases.json'), 'utf8')) as object);

/** Of the largest logit. */
const TOLERANCE = 1e-4;

const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

/**
 * The files of a case, those of the older generation by their usual names where that is asked for.
 * @param size height and width of pictures, where they are not those of the configuration
 */
async function checkpointOf(name: string, generation: '' | '.v4', size?: readonly number[]): Promise<string> {
  const out = join(folder, `${name}${generation}${size?.join('x') ?? ''}`);
  await mkdir(out, { recursive: true });
  const from = join(goldens, name);
  for (const file of readdirSync(from)) {
    if (!/^(config|model).*\.(json|safetensors)$/.test(file) || file.includes('.v4.')) continue;
    const older = file.replace('.', `${generation}.`);
    await cp(join(from, existsSync(join(from, older)) ? older : file), join(out, file));
  }
  // What the reference computed the logits with, which its Falcon differs by.
  const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as object;
  await chmod(join(out, 'config.json'), 0o600);
  await writeFile(
    join(out, 'config.json'),
    JSON.stringify({ ...config, ...(size && { image_size: size }), attn_implementation: 'eager' }),
  );
  return out;
}

/** A tensor of what the reference computed, its rows apart. */
async function rowsOf(source: TensorSource, name: string): Promise<(readonly number[])[]> {
  const info = source.tensors.get(name)!;
  const [rows] = info.shape as readonly [number];
  const all =
    info.dtype === 'I64' ? Array.from(await source.readInt(name), Number) : [...(await source.read(name))];
  const length = all.length / rows;
  return Array.from({ length: rows }, (_, row) => all.slice(row * length, (row + 1) * length));
}

const differ = (found: ArrayLike<number>, expected: readonly number[]): number => {
  expect(found).toHaveLength(expected.length);
  const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return expected.reduce((most, x, i) => Math.max(most, Math.abs(x - found[i]!)), 0) / largest;
};

const logitsOf = (model: RunnableModel, ids: readonly number[]) =>
  model.run(programs.runtime.tensor(BigInt64Array.from(ids, BigInt), [1, ids.length]), 1);

/** Where the mask is 1, which is all that counts. */
const unmasked = <T>(of: readonly T[], mask: readonly number[]): T[] => of.filter((_, i) => mask[i] === 1);

/** The largest difference of a run's logits, each row by itself without its padding. */
async function textRun(model: RunnableModel, source: TensorSource, run: string): Promise<number> {
  const [ids, masks, logits] = await Promise.all(
    ['input_ids', 'attention_mask', 'logits'].map((name) => rowsOf(source, run + name)),
  );
  let worst = 0;
  for (const [row, mask] of masks!.entries()) {
    const vocabulary = logits![row]!.length / mask.length;
    const expected = logits![row]!.filter((_, i) => mask[Math.floor(i / vocabulary)] === 1);
    worst = Math.max(worst, differ(await logitsOf(model, unmasked(ids![row]!, mask)), expected));
  }
  return worst;
}

async function pictureRun(
  name: string,
  source: TensorSource,
  run: string,
  generation: '' | '.v4',
): Promise<number> {
  const { shape } = source.tensors.get(`${run}pixel_values`)!;
  const checkpoint = await openCheckpoint(await checkpointOf(name, generation, shape.slice(2)));
  const model = await openPlainModel(programs, checkpoint);
  const pixels = programs.runtime.tensor(await source.read(`${run}pixel_values`), shape);
  const difference = differ(await model.run(pixels, shape[0]!), [...(await source.read(`${run}logits`))]);
  model.dispose();
  await checkpoint.close();
  return difference;
}

/**
 * The largest difference of logits on the way of greedy generation, whose tokens have to be the reference's. Where positions change
 * with length, the reference goes by the longest row of a batch: shorter ones are compared while both are on one side of `turn`.
 */
async function generation(model: RunnableModel, source: TensorSource, turn = Infinity): Promise<number> {
  const [prompts, masks, all, logits] = await Promise.all(
    ['input_ids', 'attention_mask', 'ids', 'logits'].map((name) => rowsOf(source, `generate.${name}`)),
  );
  let worst = 0;
  for (const [row, mask] of masks!.entries()) {
    const ids = unmasked(prompts![row]!, mask);
    const [made, steps] = [all![row]!.slice(mask.length), all![row]!.length - mask.length];
    const vocabulary = logits![row]!.length / steps;
    for (const [step, id] of made.entries()) {
      const isAlike = mask.length + step > turn === ids.length > turn;
      if (isAlike) {
        const last = (await logitsOf(model, ids)).slice(-vocabulary);
        const expected = logits![row]!.slice(step * vocabulary, (step + 1) * vocabulary);
        worst = Math.max(worst, differ(last, expected));
        expect(last.indexOf(Math.max(...last))).toBe(id);
      }
      ids.push(id);
    }
  }
  return worst;
}

const runsOf = (source: TensorSource): string[] =>
  [...source.tensors.keys()].flatMap((name) =>
    /^(\w+\.)?logits$/.test(name) ? [name.slice(0, -'logits'.length)] : [],
  );

describe.each(names.filter((name) => !(name in REFUSED)))('%s', (name) => {
  it.each([
    ['as it is written today', ''],
    ['as it was written before', '.v4'],
  ] as const)('%s', async (_, older) => {
    const source = await openSafetensors(join(goldens, name, 'expected.safetensors'));
    const checkpoint = await openCheckpoint(await checkpointOf(name, older));
    expect(checkpoint.warnings).toEqual([]);
    const model = await openPlainModel(programs, checkpoint);
    const isText = checkpoint.model.reads === 'tokens';
    for (const run of runsOf(source)) {
      if (run === 'generate.') continue;
      const difference = await (isText ? textRun(model, source, run) : pictureRun(name, source, run, older));
      expect(difference, `${run}logits`).toBeLessThan(TOLERANCE);
    }
    if (source.tensors.has('generate.logits') && older === '') {
      const config = JSON.parse(readFileSync(join(goldens, name, 'config.json'), 'utf8')) as Record<
        string,
        number
      >;
      expect(await generation(model, source, config.original_max_position_embeddings)).toBeLessThan(
        TOLERANCE,
      );
    }
    model.dispose();
    await checkpoint.close();
    await source.close();
  });
});

it.each(Object.entries(REFUSED).filter(([name]) => names.includes(name)))(
  '%s is refused',
  async (name, why) => {
    const refusal = await openCheckpoint(await checkpointOf(name, '')).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refusal).toBeInstanceOf(UserError);
    expect((refusal as Error).message).toMatch(/^[^\n]{10,600}\.$/);
    expect((refusal as Error).message).toContain(why);
  },
);
