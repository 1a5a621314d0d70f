/** Every reader of the engine with what it is given: a target draws an input from random numbers, and reads it. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import sharp from 'sharp';
import { describeModel } from '../../engine/catalog/models.js';
import { decodeFile } from '../../engine/data/decode.js';
import { openIdx } from '../../engine/data/idx.js';
import { openParquet } from '../../engine/data/parquet.js';
import { parsePreprocessor } from '../../engine/data/preprocessor.js';
import type { PictureSet } from '../../engine/data/picture-set.js';
import type { Random } from '../../engine/data/random.js';
import { toPixels } from '../../engine/data/pixels.js';
import { openChoices } from '../../engine/data/text/choices.js';
import { endTokens } from '../../engine/data/text/end-tokens.js';
import { openText } from '../../engine/data/text/source.js';
import { openTokenizer } from '../../engine/data/text/tokenizer.js';
import { elasticExporter } from '../../engine/exporters/elastic/elastic.js';
import { readGgufHeader } from '../../engine/formats/gguf/header.js';
import { openGgufImport } from '../../engine/imports/gguf/import.js';
import { expectObject, parseJsonStrict, readJsonFile } from '../../engine/formats/json.js';
import { decodeOnnxModel, encodeOnnxModel, onnxTensor } from '../../engine/formats/onnx.js';
import { isPacked, unpacked } from '../../engine/formats/packed.js';
import { openSafetensors, writeSafetensors } from '../../engine/formats/safetensors.js';
import { parseSetConfig } from '../../engine/formats/set-config.js';
import { readSensitivity } from '../../engine/formats/sensitivity.js';
import { readEvaluation } from '../../engine/jobs/evaluations.js';
import { crashed, parseRecord, resumed, stopped } from '../../engine/jobs/record.js';
import { runExport } from '../../engine/jobs/runs/export.js';
import { openMeasured } from '../../engine/jobs/sensitivity-file.js';
import { openProgress, progressMade } from '../../engine/methods/progress.js';
import { readerNamed } from '../../engine/methods/registry.js';
import { expectedTensors, openAdapterSet, openSource, setForm } from '../../engine/methods/sets.js';
import { openCheckpoint } from '../../engine/models/checkpoint.js';
import { ModelConfig } from '../../engine/models/config.js';
import { listPart } from '../../engine/models/listing.js';
import { partsOf } from '../../engine/models/model.js';
import { buildModel } from '../../engine/models/registry.js';
import { applyEdits, editPath, editPlan, editWholePlan } from '../../engine/plans/edit.js';
import { parsePlan, resolvePlan } from '../../engine/plans/plan.js';
import { bytesOf } from '../../engine/quantized/form.js';
import { openPrograms } from '../../engine/runtime/programs.js';
import { openRuntime } from '../../engine/runtime/session.js';
import { serve } from '../../engine/server.js';
import { readFrames } from '../../engine/server/frames.js';
import { makeSmallSet } from '../exports.js';
import { writeRandomModel } from '../fixtures.js';
import { TINY } from '../tiny.js';
import { ggufFiles } from './gguf.js';
import { mutateBytes, mutateText, pick } from './mutate.js';
import * as samples from './samples.js';

export interface Target {
  readonly name: string;
  /** @param folder for files of its own @returns draws an input, and reads it; rejects as the reader does */
  readonly open: (folder: string) => Promise<(random: Random) => Promise<unknown>>;
}

/** A JSON file of one of some samples, and what reads it. */
const jsonFile = (name: string, of: () => readonly unknown[], read: (path: string) => Promise<unknown>): Target => ({
  name,
  open: (folder) => {
    const values = of();
    const path = join(folder, 'file.json');
    return Promise.resolve(async (random) => {
      await writeFile(path, mutateText(random, pick(random, values)));
      return read(path);
    });
  },
}); // prettier-ignore

/** A file of bytes. */
const binaryFile = (
  name: string,
  file: string,
  of: () => Promise<readonly Uint8Array[]>,
  read: (path: string) => Promise<unknown>,
): Target => ({
  name,
  open: async (folder) => {
    const values = await of();
    const path = join(folder, file);
    return async (random) => {
      await writeFile(path, mutateBytes(random, pick(random, values), values));
      return read(path);
    };
  },
});

const family = (name: string): Target => ({
  name: `config of ${name}`,
  open: () =>
    Promise.resolve((random) => {
      const value = parseJsonStrict(mutateText(random, CONFIGS[name]).toString('utf8'), 'config.json');
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return Promise.resolve();
      const { stem, blocks, head } = buildModel(new ModelConfig(value, 'config.json'));
      return Promise.resolve([stem, blocks[0]!, head].map(listPart));
    }),
});

const SCALED = { rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 } };
const CONFIGS: Readonly<Record<string, object>> = {
  ...TINY,
  'llama with YaRN': { ...TINY.llama, ...SCALED },
};

const readPictures = async (set: PictureSet): Promise<void> => {
  for (let i = 0; i < Math.min(3, set.length); i++) {
    await set.identity(i);
    await set.read(i);
  }
  set.close();
};

async function readAll(path: string): Promise<void> {
  const source = await openSafetensors(path);
  try {
    for (const { name, dtype } of [...source.tensors.values()].slice(0, 20))
      await (/^(F|BF)/.test(dtype) ? source.read(name) : source.readInt(name));
  } finally {
    await source.close();
  }
}

/** A safetensors file whose header was changed, its length told rightly in most. */
function safetensorsFile(random: Random, header: object, data: Uint8Array): Buffer {
  const text = mutateText(random, header);
  const length = Buffer.alloc(8);
  const odd = [
    0n,
    1n,
    BigInt(Math.max(1, text.length) - 1),
    BigInt(text.length) + 1n,
    2n ** 63n,
    99_999_999n,
  ];
  length.writeBigUInt64LE(random.integer(8) === 0 ? pick(random, odd) : BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

/** Layers [8, 32] in the three kinds of integers. */
const PACKED = [
  {
    tensors: { weight_packed: [8, 4], weight_scale: [8, 2], weight_zero_point: [1, 2], weight_shape: [2] },
    config: {
      quant_method: 'compressed-tensors',
      config_groups: { group_0: { targets: ['x'], weights: { num_bits: 4, symmetric: false } } },
    },
  },
  {
    tensors: { qweight: [4, 32], qzeros: [2, 4], scales: [2, 32], g_idx: [32] },
    config: { quant_method: 'gptq', bits: 4, format: 'gptq_v2', dynamic: { '+:^y$': { bits: 8 } } },
  },
  { tensors: { qweight: [32, 1], qzeros: [2, 1], scales: [2, 8] }, config: { quant_method: 'awq', bits: 4 } },
] satisfies readonly { readonly tensors: Readonly<Record<string, number[]>>; readonly config: object }[];

const packed: Target = {
  name: 'packed weights',
  open: (folder) =>
    Promise.resolve(async (random) => {
      const { tensors, config } = pick(random, PACKED);
      const entries = Object.entries<number[]>(tensors).map(([suffix, own]) => {
        const shape = random.integer(8) === 0 ? own.map((n) => n + random.integer(3)) : [...own];
        const count = shape.reduce((a, b) => a * b, 1);
        const words = () => Int32Array.from({ length: count }, () => random.integer(2 ** 31));
        const sizes = BigInt64Array.from({ length: count }, (_, i) =>
          BigInt([8, 32][i] ?? random.integer(99)),
        );
        const kind = suffix.includes('scale') ? 'F32' : suffix === 'weight_shape' ? 'I64' : 'I32';
        const groups = () => Int32Array.from({ length: count }, (_, i) => i >> 4);
        const data = kind === 'F32' ? new Float32Array(count).fill(0.5) : kind === 'I64' ? sizes : suffix === 'g_idx' ? groups() : words(); // prettier-ignore
        return { name: `x.${suffix}`, dtype: kind, shape, data: () => data } as const;
      });
      const path = join(folder, 'packed.safetensors');
      await writeSafetensors(path, entries);
      const place = join(folder, 'packed.json');
      await writeFile(place, mutateText(random, { quantization_config: config }));
      const values = expectObject(await readJsonFile(place), 'config.json');
      if (!isPacked(values)) return;
      const source = await openSafetensors(path);
      try {
        const weights = await unpacked(source, values, 'packed');
        for (const name of weights.tensors.keys()) if (name.endsWith('.weight')) await weights.read(name);
      } finally {
        await source.close();
      }
    }),
};

const HEADER = {
  __metadata__: { format: 'pt', at: '[0,1]' },
  a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
  b: { dtype: 'BF16', shape: [4], data_offsets: [24, 32] },
  c: { dtype: 'I64', shape: [], data_offsets: [32, 40] },
  d: { dtype: 'U8', shape: [0], data_offsets: [40, 40] },
};

const grey = (size: number) =>
  sharp(Buffer.alloc(3 * size * size, 77), { raw: { width: size, height: size, channels: 3 } });

const pictures: Readonly<Record<string, () => Promise<readonly Uint8Array[]>>> = {
  PNG: () => Promise.all([grey(8).png().toBuffer(), grey(40).png({ palette: true }).toBuffer(), grey(9).png({ progressive: true }).toBuffer()]),
  JPEG: () => Promise.all([grey(8).jpeg().toBuffer(), grey(40).jpeg({ progressive: true }).toBuffer(), grey(9).toColourspace('cmyk').jpeg().toBuffer()]),
  WebP: () => Promise.all([grey(8).webp().toBuffer(), grey(40).webp({ lossless: true }).toBuffer()]),
}; // prettier-ignore

const idx = (shape: readonly number[], data: Uint8Array) => {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.set([0, 0, 8, shape.length]);
  shape.forEach((size, i) => header.writeUInt32BE(size, 4 + 4 * i));
  return Buffer.concat([header, data]);
};

const parquet = (columnData: Parameters<typeof parquetWriteBuffer>[0]['columnData']) =>
  Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: 2 }));

const textParquet = () =>
  Promise.resolve([
    parquet([{ name: 'text', data: ['one', 'two words', 'three'], type: 'STRING' }]),
    parquet([{ name: 'text', data: Array<string>(50).fill('again and again'), type: 'STRING' }]),
  ]);

async function pictureParquet(): Promise<readonly Uint8Array[]> {
  const bytes = await grey(4).png().toBuffer();
  const schema = [
    { name: 'schema', num_children: 2 },
    { name: 'image', num_children: 2, repetition_type: 'OPTIONAL' as const },
    { name: 'bytes', type: 'BYTE_ARRAY' as const, repetition_type: 'OPTIONAL' as const },
    { name: 'path', type: 'BYTE_ARRAY' as const, converted_type: 'UTF8' as const, repetition_type: 'OPTIONAL' as const },
    { name: 'label', type: 'INT32' as const, repetition_type: 'OPTIONAL' as const },
  ];
  const image = { bytes, path: 'a.png' };
  const columnData = [
    { name: 'image', data: [image, image, null] },
    { name: 'label', data: [0, 1, null] },
  ];
  return [Buffer.from(parquetWriteBuffer({ columnData, schema, rowGroupSize: 2 }))];
} // prettier-ignore

const documents = async (path: string) => {
  const source = await openText(path);
  for await (const text of source.documents()) if (typeof text !== 'string') throw new Error('Not a text.');
  return source.fingerprint();
};

const ROWS = [
  { question: 'Why?', choices: { text: ['a', 'b'], label: ['A', 'B'] }, answerKey: 'A' },
  { ctx: 'He', endings: ['a', 'b', 'c', 'd'], label: '1', activity_label: 'x', ctx_a: 'He', ctx_b: '' },
  { goal: 'g', sol1: 'a', sol2: 'b', label: 0 },
  { text: 'one', other: [1, { a: 2 }] },
];

const jsonLines = (random: Random) =>
  Buffer.concat(Array.from({ length: 1 + random.integer(4) }, () => Buffer.concat([random.integer(3) > 0 ? Buffer.from(JSON.stringify(pick(random, ROWS))) : mutateText(random, pick(random, ROWS)), Buffer.from('\n')]))); // prettier-ignore

const linesFile = (name: string, read: (path: string) => Promise<unknown>): Target => ({
  name,
  open: (folder) => {
    const path = join(folder, 'rows.jsonl');
    return Promise.resolve(async (random) => {
      await writeFile(path, jsonLines(random));
      return read(path);
    });
  },
});

/** An engine in this process, that a message is sent to and then a heartbeat, which must be answered. */
const protocol: Target = {
  name: 'protocol',
  open: () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    let answered: ((id: unknown) => void) | undefined;
    output.on('data', readFrames({ body: (bytes) => answered?.((JSON.parse(bytes.toString()) as { id?: unknown }).id), trouble: () => undefined })); // prettier-ignore
    void serve(input, output).then(() => {
      throw new Error('A message ended the engine.');
    });
    const frame = (body: Buffer) =>
      Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]);
    let beats = 0;
    return Promise.resolve(async (random) => {
      const whole = frame(mutateText(random, pick(random, samples.requests)));
      const sent = random.integer(3) === 0 ? mutateBytes(random, whole) : whole;
      const beat = `beat ${beats++}`;
      const heard = new Promise<void>((resolve) => (answered = (id) => id === beat && resolve()));
      input.write(sent);
      // What a length that was too long takes, it takes of these.
      for (;;) {
        input.write(frame(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: beat, method: 'ping' }))));
        const next = new Promise<'again'>((resolve) => setTimeout(() => resolve('again'), 20));
        if ((await Promise.race([heard, next])) !== 'again') return;
        input.write(Buffer.alloc(1 << 20, ' '));
      }
    });
  },
};

const plan: Target = {
  name: 'plan',
  open: () =>
    Promise.resolve((random) => {
      const text = mutateText(random, pick(random, samples.plans)).toString('utf8');
      const { layers } = samples;
      const { plan: read, places } = parsePlan(text);
      if (read) resolvePlan(read, layers, [2, 3, 4, 8], places);
      const bits = layers.map(() => 2 + random.integer(7));
      for (const edits of [
        editPath(text, 'model', '../m'),
        editPath(text, 'adapters', '../a'),
        editWholePlan(text, bits, layers),
        editPlan(text, new Map([[pick(random, layers), 3]]), layers),
      ]) {
        const edited = applyEdits(text, edits);
        if (read && !parsePlan(edited).plan) throw new Error(`An edit made no plan of ${text}: ${edited}`);
      }
      return Promise.resolve();
    }),
};

const setFolder: Target = {
  name: 'adapter set',
  open: (folder) => {
    const configs = samples.setConfigs().map((config) => ({ ...config }));
    return Promise.resolve(async (random) => {
      const config = pick(random, configs);
      const names = [...expectedTensors(parseSetConfig(config, 'config'))].filter(([, { optional }]) => !optional);
      const entries = names.map(([name, { shape, dtype = 'F32' }]) => {
        const size = shape.reduce((a, b) => a * b, 1);
        return { name, shape, dtype, data: dtype === 'I8' ? new Int8Array(size) : dtype === 'U8' ? new Uint8Array(size) : new Float32Array(size).fill(0.5) };
      });
      const path = join(folder, 'adapter_model.safetensors');
      await writeSafetensors(path, entries);
      const bytes = mutateBytes(random, await readFile(path));
      await writeFile(path, bytes);
      const tensors_sha256 = createHash('sha256').update(bytes).digest('hex');
      const text = random.integer(3) === 0 ? mutateText(random, { ...config, tensors_sha256 }) : JSON.stringify({ ...config, tensors_sha256 });
      await writeFile(join(folder, 'adapter_config.json'), text);
      const set = await openAdapterSet(folder);
      try {
        await set.tensors.floats('');
      } finally {
        await set.close();
      }
    });
  },
}; // prettier-ignore

const modelFolder: Target = {
  name: 'model folder',
  open: async (folder) => {
    const models = await Promise.all(
      ['vit', 'llama'].map(async (name) => {
        await writeRandomModel(join(folder, name), TINY[name]);
        return { path: join(folder, name), config: TINY[name]! };
      }),
    );
    return async (random) => {
      const { path, config } = pick(random, models);
      await writeFile(join(path, 'config.json'), mutateText(random, config));
      return describeModel(path);
    };
  },
};

/**
 * Of a model in codes, those of lower bit-widths stored beside what its base rounds to or rounded from it with directions added,
 * its tensors and both of its configurations changed; read as far as its weights at every bit-width.
 */
const elasticFile: Target = {
  name: 'elastic file',
  open: async (folder) => {
    const [model, made] = ['model', 'made'].map((name) => join(folder, name)) as [string, string];
    const runtime = openRuntime('cpu', 1);
    const programs = openPrograms(runtime);
    await writeRandomModel(model, TINY.llama);
    const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };
    const names = ['config.json', 'adapter_config.json', 'adapter_model.safetensors'] as const;
    const files: (readonly [Buffer, Buffer, Buffer])[] = [];
    for (const [method, rounding, bits, options] of [
      ['direct', 'never', [8, 6, 3, 2], { groupSize: 8 }],
      ['quept', 'always', [8, 4, 2], { epochs: 1, batch: 2, rank: 2 }],
    ] as const) {
      const [set, out] = [join(folder, method), join(folder, rounding)];
      await makeSmallSet(programs, model, set, { method, mode: 'weight-only', bits: [...bits], options });
      const request = { model, adapters: set, format: 'elastic', out, device: 'cpu', threads: 1 } as const;
      await runExport(request, quiet, [elasticExporter(rounding)]);
      const read = (name: string) => readFile(join(out, name));
      files.push([await read(names[0]), await read(names[1]), await read(names[2])]);
    }
    await mkdir(made);
    return async (random) => {
      const [config, head, tensors] = pick(random, files);
      const bytes = random.integer(2) === 0 ? tensors : mutateBytes(random, tensors);
      const tensors_sha256 = createHash('sha256').update(bytes).digest('hex');
      const own = { ...(JSON.parse(head.toString()) as object), tensors_sha256 };
      await writeFile(join(made, names[0]), random.integer(4) === 0 ? mutateText(random, JSON.parse(config.toString())) : config);
      await writeFile(join(made, names[1]), random.integer(2) === 0 ? mutateText(random, own) : JSON.stringify(own));
      await writeFile(join(made, names[2]), bytes);
      const checkpoint = await openCheckpoint(made);
      try {
        const opened = await openAdapterSet(made);
        try {
          const source = openSource(programs, checkpoint, opened);
          for (const part of partsOf(checkpoint.model)) await source.checkpoint.read(part);
          for (const layer of Object.keys(opened.config.layers).slice(0, 2)) for (const bits of source.offered) await source.weight(layer, bits);
        } finally {
          await opened.close();
        }
      } finally {
        await checkpoint.close();
      }
    };
  },
}; // prettier-ignore

const shards: Target = {
  name: 'safetensors index',
  open: async (folder) => {
    const index = { metadata: { total_size: 40 }, weight_map: {} as Record<string, string> };
    for (const file of ['a', 'b']) {
      const entries = ['x', 'y'].map((name) => ({ name: `${file}.${name}`, dtype: 'F32' as const, shape: [2], data: new Float32Array(2) })); // prettier-ignore
      await writeSafetensors(join(folder, `${file}.safetensors`), entries);
      for (const { name } of entries) index.weight_map[name] = `${file}.safetensors`;
    }
    return async (random) => {
      await writeFile(join(folder, 'model.safetensors.index.json'), mutateText(random, index));
      return readAll(folder);
    };
  },
};

const tokenizer: Target = {
  name: 'tokenizer',
  open: (folder) => {
    const [json, config] = samples.tokenizerFiles();
    return Promise.resolve(async (random) => {
      const which = random.integer(3);
      await writeFile(
        join(folder, 'tokenizer.json'),
        which > 0 ? mutateText(random, json) : JSON.stringify(json),
      );
      await writeFile(join(folder, 'tokenizer_config.json'), which < 2 ? mutateText(random, config) : JSON.stringify(config)); // prettier-ignore
      const opened = await openTokenizer(folder, { vocabulary: 2 ** 20 });
      const ids = await opened.encode(['Four score and <s> seven\n\n years ', '']);
      await opened.decode(ids[0]!);
    });
  },
};

const generation: Target = {
  name: 'generation config',
  open: (folder) => {
    const config = { bos_token_id: 1, eos_token_id: [2, 3], max_length: 20 };
    return Promise.resolve(async (random) => {
      await writeFile(join(folder, 'generation_config.json'), mutateText(random, config));
      await writeFile(join(folder, 'config.json'), mutateText(random, { ...TINY.llama, eos_token_id: 2 }));
      return endTokens(folder, { eos: 2 } as Parameters<typeof endTokens>[1]);
    });
  },
};

const progress: Target = {
  name: 'progress',
  open: (folder) => {
    const identity = { seed: 1, bits: [8, 4], model: { name: 'm' }, layers: { a: 1 } };
    const partial = join(folder, 'set.partial');
    return Promise.resolve(async (random) => {
      await mkdir(partial, { recursive: true });
      const wrong = random.integer(2) === 0;
      const whole = { format: 1, ...identity };
      await writeFile(
        join(partial, 'identity.json'),
        wrong ? mutateText(random, whole) : JSON.stringify(whole),
      );
      await writeFile(
        join(partial, 'epoch.safetensors'),
        safetensorsFile(random, HEADER, new Uint8Array(40)),
      );
      await progressMade(join(folder, 'set'));
      const opened = await openProgress(join(folder, 'set'), identity, true);
      await opened.load('epoch.safetensors');
    });
  },
};

const onnx = (): readonly Uint8Array[] => {
  const model = {
    irVersion: 9,
    opsets: [{ domain: '', version: 20 }],
    producerName: 'test',
    graph: {
      name: 'affine',
      nodes: [
        {
          ...{ opType: 'Gemm', name: 'gemm', inputs: ['x', 'w', ''], outputs: ['h'] },
          attributes: { transB: { type: 'int', value: 1 }, alpha: { type: 'float', value: 0.5 } },
        } as const,
      ],
      inputs: [{ name: 'x', dataType: 'float32', shape: ['n', 2] }] as const,
      outputs: [{ name: 'h', dataType: 'float32', shape: ['n', 3] }] as const,
      initializers: [onnxTensor('w', 'float32', [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6))],
    },
    metadata: { made: 'by hand' },
  };
  return [encodeOnnxModel(model)];
};

export const targets: readonly Target[] = [
  jsonFile('JSON', () => [{ a: [1, 'x', null, { b: true }] }, [0.5, -1e9, 'é\\n']], (path) => readJsonFile(path)),
  binaryFile('safetensors', 'a.safetensors', () => {
    const length = Buffer.alloc(8);
    const text = Buffer.from(JSON.stringify(HEADER));
    length.writeBigUInt64LE(BigInt(text.length));
    return Promise.resolve([Buffer.concat([length, text, Buffer.alloc(40)])]);
  }, readAll),
  {
    name: 'safetensors header',
    open: (folder) =>
      Promise.resolve(async (random) => {
        const path = join(folder, 'a.safetensors');
        await writeFile(path, safetensorsFile(random, HEADER, new Uint8Array(40)));
        return readAll(path);
      }),
  },
  shards,
  packed,
  binaryFile('GGUF header', 'a.gguf', ggufFiles, readGgufHeader),
  binaryFile('GGUF model', 'a.gguf', ggufFiles, (path) => openGgufImport(path, 'F32')),
  ...Object.keys(CONFIGS).map(family),
  modelFolder,
  jsonFile('preprocessor', samples.preprocessors, async (path) => {
    const preprocessor = parsePreprocessor(await readJsonFile(path), { channels: 3, imageSize: 32, family: 'vit' }, 'preprocessor_config.json');
    return toPixels({ data: new Uint8Array(3 * 20 * 30), width: 30, height: 20, channels: 3 }, preprocessor);
  }),
  tokenizer,
  generation,
  jsonFile('set config', samples.setConfigs, async (path) => {
    const config = parseSetConfig(await readJsonFile(path), 'adapter_config.json');
    expectedTensors(config);
    readerNamed(config.method.name).parts(config);
    for (const layer of Object.keys(config.layers).slice(0, 5))
      for (const bits of config.offered.slice(0, 9)) bytesOf(setForm(config, layer, bits));
  }),
  setFolder,
  elasticFile,
  plan,
  jsonFile('sensitivity', () => [samples.sensitivity], readSensitivity),
  jsonFile('sensitivity progress', () => [{ identity: samples.sensitivity, costs: [[0.1, 0]] }], async (path) => {
    await rename(path, `${path}.partial`);
    return openMeasured(path, samples.sensitivity, true);
  }),
  jsonFile('evaluation', () => [samples.evaluation], readEvaluation),
  jsonFile('job record', () => samples.jobs, async (path) => {
    const job = parseRecord(await readJsonFile(path), 'record');
    resumed(crashed(job));
    stopped(job, 'failed', 1, true, 'x');
  }),
  progress,
  ...Object.entries(pictures).map(([format, of]): Target => ({
    name: format,
    open: async () => {
      const files = await of();
      return (random) => decodeFile(mutateBytes(random, pick(random, files), files));
    },
  })),
  binaryFile('IDX', 'train-images-idx3-ubyte', () => Promise.resolve([idx([3, 4, 4], new Uint8Array(48)), gzipSync(idx([3, 4, 4], new Uint8Array(48)))]), async (path) => readPictures(await openIdx(path))),
  binaryFile('Parquet of pictures', 'a.parquet', pictureParquet, async (path) => readPictures(await openParquet('a', [path]))),
  binaryFile('Parquet of texts', 'a.parquet', textParquet, documents),
  linesFile('JSON lines', documents),
  linesFile('questions', openChoices),
  binaryFile('text', 'a.txt', () => Promise.resolve([Buffer.from('One\r\ntwo é\n\nthree')]), documents),
  {
    name: 'ONNX',
    open: () => {
      const models = onnx();
      return Promise.resolve((random) => {
        decodeOnnxModel(mutateBytes(random, pick(random, models)));
        return Promise.resolve();
      });
    },
  },
  protocol,
]; // prettier-ignore
