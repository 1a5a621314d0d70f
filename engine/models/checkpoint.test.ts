import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import { UserError } from '../errors.js';
import { openSafetensors, writeSafetensors, type SafetensorsEntry } from '../formats/safetensors.js';
import { openCheckpoint, type Checkpoint } from './checkpoint.js';
import { inputSize, partsOf } from './model.js';

let root: string;
let cleanUp: () => Promise<void>;
/** A fresh copy of the tiny model for each test. */
let folder: string;
let count = 0;
const open: Checkpoint[] = [];

beforeAll(async () => ({ folder: root, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());
beforeEach(async () => {
  for (const checkpoint of open.splice(0)) await checkpoint.close();
  folder = join(root, `model-${count++}`);
  await writeRandomModel(folder);
});

async function opened(at = folder): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(at);
  open.push(checkpoint);
  return checkpoint;
}

async function complaint(): Promise<string> {
  const error: unknown = await openCheckpoint(folder).then(
    () => new Error('It was accepted.'),
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(UserError);
  return (error as UserError).message.replace(/model-\d+/, 'model');
}

/** Writes the weights again, each tensor as `change` has it; undefined leaves it out. */
async function rewrite(change: (entry: SafetensorsEntry) => SafetensorsEntry | undefined): Promise<void> {
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    (await entries()).flatMap((entry) => change(entry) ?? []),
  );
}

async function entries(): Promise<SafetensorsEntry[]> {
  const source = await openSafetensors(folder);
  try {
    return await Promise.all(
      [...source.tensors.values()].map(async ({ name, shape }) => ({
        name,
        shape,
        dtype: 'F32' as const,
        data: await source.read(name),
      })),
    );
  } finally {
    await source.close();
  }
}

const configure = (change: object) =>
  writeFile(join(folder, 'config.json'), JSON.stringify({ ...TINY_VIT, ...change }));
const KEY = 'vit.encoder.layer.1.attention.attention.key.weight';

describe('openCheckpoint', () => {
  it('counts the parameters that the model uses', async () => {
    const block = 4 * (16 * 16 + 16) + (16 * 32 + 32) + (32 * 16 + 16) + 2 * 32;
    const expected = 16 * 16 + 16 + 16 + 5 * 16 + 2 * block + 32 + 16 * 6 + 6;
    expect((await opened()).parameters).toBe(expected);
    const spare: SafetensorsEntry = {
      name: 'vit.pooler.dense.weight',
      dtype: 'F32',
      shape: [16, 16],
      data: new Float32Array(256),
    };
    await writeSafetensors(join(folder, 'model.safetensors'), [...(await entries()), spare]);
    expect((await opened()).parameters).toBe(expected);
  });

  it('reads a part by local names, the patch embedding as a matrix', async () => {
    const checkpoint = await opened();
    const stem = await checkpoint.read(checkpoint.model.stem);
    expect([...stem.keys()].sort()).toEqual([
      'cls_token',
      'patch_embeddings.projection.bias',
      'patch_embeddings.projection.weight',
      'position_embeddings',
    ]);
    expect(stem.get('patch_embeddings.projection.weight')!.shape).toEqual([16, 16]);
    const block = await checkpoint.read(checkpoint.model.blocks[1]!);
    expect(block.get('attention.attention.key.weight')!.data).toEqual(
      (await entries()).find((e) => e.name === KEY)!.data,
    );
  });

  it('says which tensor is missing', async () => {
    await rewrite((entry) => (entry.name === KEY ? undefined : entry));
    expect(await complaint()).toBe(
      `model: the tensor "${KEY}" is missing; config.json says the model has it.`,
    );
  });

  it('says which shape does not fit the configuration', async () => {
    await configure({ intermediate_size: 64 });
    expect(await complaint()).toBe(
      'model: the tensor "vit.encoder.layer.0.intermediate.dense.weight" has the shape [32, 16]; by config.json it is [64, 16].',
    );
  });

  it('refuses a shape of the same elements in another order', async () => {
    await rewrite((entry) =>
      entry.name === 'vit.embeddings.patch_embeddings.projection.weight'
        ? { ...entry, shape: [16, 16] }
        : entry,
    );
    expect(await complaint()).toMatch(/has the shape \[16, 16\]; by config\.json it is \[16, 1, 4, 4\]\.$/);
  });

  it('refuses weights that are not floating-point numbers', async () => {
    await rewrite((entry) =>
      entry.name === KEY ? { ...entry, dtype: 'I8', data: new Int8Array(256) } : entry,
    );
    expect(await complaint()).toBe(
      `model: the tensor "${KEY}" holds "I8"; models are read in F64, F32, F16 and BF16.`,
    );
  });

  it('refuses a folder without weights, and one without configuration', async () => {
    await rename(join(folder, 'model.safetensors'), join(folder, 'other.safetensors'));
    expect(await complaint()).toMatch(/holds neither model\.safetensors nor model\.safetensors\.index\.json/);
    await rename(join(folder, 'config.json'), join(folder, 'settings.json'));
    expect(await complaint()).toMatch(/config\.json: no such file/);
  });

  it.each<[string, string, RegExp]>([
    ['is no JSON', '{', /^config\.json: the JSON ends too early/],
    ['is a list', '[]', /^config\.json: must be a JSON object/],
    [
      'has an impossible size',
      '{"model_type": "vit", "hidden_size": -1}',
      /^model\/config\.json: "hidden_size" must be an integer/,
    ],
  ])('refuses a configuration that %s', async (_, text, message) => {
    await writeFile(join(folder, 'config.json'), text);
    expect(await complaint()).toMatch(message);
  });

  it('refuses a configuration file that is too large to be one', async () => {
    await writeFile(join(folder, 'config.json'), ' '.repeat((4 << 20) + 1));
    expect(await complaint()).toMatch(/^config\.json: 4194305 bytes, more than the 4194304 allowed/);
  });

  it('refuses huge sizes at once, whatever they are the size of', async () => {
    const huge = 1 << 24;
    for (const key of [
      'num_hidden_layers',
      'hidden_size',
      'intermediate_size',
      'image_size',
      'num_channels',
    ]) {
      await configure({ [key]: huge, num_attention_heads: 1, patch_size: 1 });
      expect(await complaint()).toMatch(`"${key}" must be an integer from 1 to`);
    }
    await configure({ num_hidden_layers: 4096 });
    expect(await complaint()).toMatch(/layer\.2\.layernorm_before\.weight" is missing/);
    const { id2label: _, ...unnamed } = TINY_VIT;
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ...unnamed, num_labels: huge }));
    expect(await complaint()).toMatch(
      /"classifier\.weight" has the shape \[6, 16\]; by config\.json it is \[16777216, 16\]/,
    );
  });
});

describe('a language model', () => {
  const TIED = { ...TINY_LLAMA, tie_word_embeddings: true };

  it('reads a tied head from the embedding and counts it once', async () => {
    await writeRandomModel(folder, TINY_LLAMA);
    const untied = await opened();
    await writeRandomModel(folder, TIED);
    const tied = await opened();
    expect(untied.parameters - tied.parameters).toBe(11 * 16);
    expect([...tied.source.tensors.keys()]).not.toContain('lm_head.weight');
    const [stem, head] = [await tied.read(tied.model.stem), await tied.read(tied.model.head)];
    expect(head.get('lm_head.weight')).toEqual(stem.get('model.embed_tokens.weight'));
  });

  it('needs a head of its own where it is not tied', async () => {
    await writeRandomModel(folder, TIED);
    await writeFile(join(folder, 'config.json'), JSON.stringify(TINY_LLAMA));
    expect(await complaint()).toBe(
      'model: the tensor "lm_head.weight" is missing; config.json says the model has it.',
    );
  });

  it('is built for as many tokens as asked for', async () => {
    await writeRandomModel(folder, TINY_LLAMA);
    expect(inputSize((await opened()).model.stem)).toBe(32);
    const short = await openCheckpoint(folder, { tokens: 4 });
    open.push(short);
    expect(inputSize(short.model.stem)).toBe(4);
    expect(await short.fingerprint()).toBe(await (await opened()).fingerprint());
    await expect(openCheckpoint(folder, { tokens: 33 })).rejects.toThrow(UserError);
  });
});

describe('weights in other forms', () => {
  const values = async (checkpoint: Checkpoint) => {
    const all: (readonly [string, Float32Array])[] = [];
    for (const part of partsOf(checkpoint.model))
      for (const [name, { data }] of await checkpoint.read(part)) all.push([part.prefix + name, data]);
    return all;
  };

  it('reads shards as one file', async () => {
    const [whole, all] = [await values(await opened()), await entries()];
    await rename(join(folder, 'model.safetensors'), join(folder, 'unused'));
    const shard = (i: number) => `model-0000${(i % 3) + 1}-of-00003.safetensors`;
    for (const s of [0, 1, 2])
      await writeSafetensors(
        join(folder, shard(s)),
        all.filter((_, i) => i % 3 === s),
      );
    const weight_map = Object.fromEntries(all.map((entry, i) => [entry.name, shard(i)]));
    await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
    expect(await values(await opened())).toEqual(whole);
  });

  it.each([
    ['F16', 2 ** -11],
    ['BF16', 2 ** -8],
  ] as const)('reads %s to its precision', async (dtype, precision) => {
    const whole = await values(await opened());
    await rewrite((entry) => ({ ...entry, dtype }));
    const found = await values(await opened());
    let worst = 0;
    whole.forEach(([name, data], t) => {
      expect(found[t]![0]).toBe(name);
      data.forEach(
        (x, i) => (worst = Math.max(worst, Math.abs(found[t]![1][i]! - x) / Math.max(Math.abs(x), 1e-4))),
      );
    });
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThanOrEqual(precision);
  });
});

describe('fingerprint', () => {
  const fingerprint = async (at = folder) => (await opened(at)).fingerprint();

  it('is that of the content, wherever it lies', async () => {
    const copy = join(root, `copy-${count}`);
    await mkdir(copy);
    for (const name of ['config.json', 'model.safetensors'])
      await writeFile(join(copy, name), await readFile(join(folder, name)));
    await writeFile(join(copy, 'README.md'), 'another file');
    expect(await fingerprint(copy)).toBe(await fingerprint());
  });

  it('changes with one weight and with the configuration', async () => {
    const prints = [await fingerprint()];
    await configure({ layer_norm_eps: 1e-5 });
    prints.push(await fingerprint());
    await configure({});
    await rewrite((entry) =>
      entry.name === KEY
        ? { ...entry, data: (entry.data as Float32Array).map((x, i) => (i === 100 ? x + 1 : x)) }
        : entry,
    );
    prints.push(await fingerprint());
    expect(new Set(prints).size).toBe(3);
  });
});

it.each([NaN, Infinity])('names a tensor that holds %d', async (value) => {
  await rewrite((entry) => {
    if (entry.name === KEY) (entry.data as Float32Array)[7] = value;
    return entry;
  });
  const checkpoint = await opened();
  const [, block] = checkpoint.model.blocks;
  await expect(checkpoint.read(block!)).rejects.toThrow(`"${KEY}" holds values that are NaN or infinite`);
});

describe('a checkpoint by other names', () => {
  /** Everything that a model reads, by the family's names. */
  async function contents(at = folder): Promise<Map<string, number[]>> {
    const checkpoint = await opened(at);
    const all = new Map<string, number[]>();
    for (const part of partsOf(checkpoint.model))
      for (const [name, { data }] of await checkpoint.read(part)) all.set(part.prefix + name, [...data]);
    return all;
  }

  it.each<[string, (name: string) => string]>([
    ['without the prefix', (name) => name.replace(/^vit\./, '')],
    [
      'as newer code has them',
      (name) =>
        name
          .replace('encoder.layer.', 'layers.')
          .replace('attention.output.dense', 'attention.o_proj')
          .replace(
            /attention\.attention\.(query|key|value)/,
            (_, kind: string) => `attention.${kind[0]!}_proj`,
          )
          .replace('intermediate.dense', 'mlp.fc1')
          .replace(/(layers\.\d+)\.output\.dense/, '$1.mlp.fc2'),
    ],
  ])('is the same model %s', async (_, rename) => {
    const before = await contents();
    await rewrite((entry) => ({ ...entry, name: rename(entry.name) }));
    expect(await contents()).toEqual(before);
    expect(open.at(-1)!.warnings).toEqual([]);
  });

  describe('of a language model', () => {
    const TIED = { ...TINY_LLAMA, tie_word_embeddings: true };
    const TABLE = 'model.embed_tokens.weight';
    beforeEach(() => writeRandomModel(folder, TIED));

    it('is the same model without the prefix, and with the table stored as the head', async () => {
      const before = await contents();
      await rewrite((entry) => ({
        ...entry,
        name: entry.name === TABLE ? 'lm_head.weight' : entry.name.replace(/^model\./, ''),
      }));
      expect(await contents()).toEqual(before);
      expect(open.at(-1)!.source.tensors.get(TABLE)).toMatchObject({ name: TABLE, shape: [11, 16] });
    });

    it('takes a head that is stored beside the table for the table where they are equal', async () => {
      const { parameters } = await opened();
      const all = await entries();
      const table = all.find(({ name }) => name === TABLE)!;
      const data = Float32Array.from(table.data as Float32Array);
      data[3] = 0;
      const zero = { ...table, data };
      // The same numbers in other bytes.
      for (const head of [zero, { ...zero, data: data.map((x) => (x === 0 ? -0 : x)) }]) {
        await writeSafetensors(join(folder, 'model.safetensors'), [
          ...all.filter((entry) => entry !== table),
          zero,
          { ...head, name: 'lm_head.weight' },
        ]);
        expect(await opened()).toMatchObject({ parameters, warnings: [] });
      }
    });

    it('reads one that differs in its last element, and says so', async () => {
      const all = await entries();
      const table = all.find(({ name }) => name === TABLE)!;
      const data = Float32Array.from(table.data as Float32Array);
      data[data.length - 1]! += 1;
      await writeSafetensors(join(folder, 'model.safetensors'), [
        ...all,
        { ...table, name: 'lm_head.weight', data },
      ]);
      const checkpoint = await opened();
      expect(checkpoint.warnings).toEqual([
        expect.stringContaining('"lm_head.weight" differs from the table'),
      ]);
      const head = await checkpoint.read(checkpoint.model.head);
      expect([...head.get('lm_head.weight')!.data]).toEqual([...data]);
    });

    it('names tensors that it does not read, but for those that follow from others', async () => {
      await writeRandomModel(folder, { ...TIED, attention_bias: true });
      const all = await entries();
      const spare = { dtype: 'F32' as const, shape: [4], data: new Float32Array(4) };
      await writeSafetensors(join(folder, 'model.safetensors'), [
        ...all,
        { ...spare, name: 'model.layers.0.self_attn.rotary_emb.inv_freq' },
      ]);
      await writeFile(join(folder, 'config.json'), JSON.stringify(TIED));
      const { warnings } = await opened();
      expect(warnings).toEqual([
        expect.stringMatching(
          /8 tensors are not read.*"model\.layers\.0\.self_attn\.\w+\.bias".* and 5 more\.$/,
        ),
      ]);
    });
  });

  it('is a DeiT with two heads where no architecture is named and it has them', async () => {
    const architecture = 'DeiTForImageClassificationWithTeacher';
    const config = { ...TINY_VIT, model_type: 'deit', architectures: [architecture] };
    await writeRandomModel(folder, config);
    const before = await contents();
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, architectures: undefined }));
    expect(await contents()).toEqual(before);
  });

  it('takes NaN and a key twice as Python does, and tensors of unknown dtypes that nothing reads', async () => {
    const text = JSON.stringify(TINY_VIT);
    await writeFile(
      join(folder, 'config.json'),
      text.replace(/}$/, ', "limits": [NaN, -Infinity], "num_channels": 7, "num_channels": 1}'),
    );
    expect(await opened()).toMatchObject({ warnings: [] });
    const file = join(folder, 'model.safetensors');
    const spare = { name: 'spare', dtype: 'U8' as const, shape: [4], data: new Uint8Array(4) };
    await writeSafetensors(file, [...(await entries()), spare]);
    const bytes = (await readFile(file)).toString('latin1').replace('"U8"', '"F4"');
    await writeFile(file, bytes, 'latin1');
    const { warnings } = await opened();
    expect(warnings).toEqual([expect.stringContaining('one tensor is not read')]);
  });
});

it('refuses weights that are quantized already, whatever the family', async () => {
  await configure({ quantization_config: { quant_method: 'bitsandbytes' } });
  expect(await complaint()).toContain('"quantization_config" is present');
});
