/** Valid content of every kind of file that the engine reads, small. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { upgradeSetConfig } from '../../engine/formats/set-config-v1.js';
import type { JsonObject } from '../../engine/formats/json.js';

/** The folder of the repository: the bundle lies one below it. */
const root = join(import.meta.dirname, '..');
const json = (...path: string[]) => JSON.parse(readFileSync(join(root, ...path), 'utf8')) as JsonObject;
const digest = 'a'.repeat(64);

export const tokenizerFiles = (): readonly [JsonObject, JsonObject] => [
  json('samples', 'llama-speeches', 'tokenizer.json'),
  json('samples', 'llama-speeches', 'tokenizer_config.json'),
];

export const preprocessors = (): readonly JsonObject[] => [
  json('samples', 'vit-fashion', 'preprocessor_config.json'),
  {
    ...{ feature_extractor_type: 'DeiTFeatureExtractor', do_resize: true, size: 256, resample: 3 },
    ...{ do_center_crop: true, crop_size: { height: 224, width: 224 }, do_normalize: true },
    ...{ image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] },
  },
];

export function setConfigs(): readonly JsonObject[] {
  const old = ['vit', 'llama', 'llama-wa'].map((name) =>
    json('test', 'sets-v1', name, 'adapter_config.json'),
  );
  const upgraded = old.map((config) => upgradeSetConfig(config, 'config'));
  const of = (config: JsonObject, method: JsonObject) =>
    ({ ...config, transforms: [], method }) as JsonObject;
  return [
    ...old,
    ...upgraded,
    of(upgraded[0]!, { name: 'rounding', activations: 'static', products: [] }),
    of(upgraded[1]!, { name: 'gptq', hyperparameters: {} }),
    elasticSet(upgraded[1]!),
  ];
}

/** An elastic file of the layers and bit-widths of a set. */
function elasticSet(config: JsonObject): JsonObject {
  const offered = [8, 6, 4, 2];
  const layers = Object.entries(config.layers as Record<string, JsonObject>).slice(0, 3);
  const sizes = { '8': -1, '6': -1, '4': 4, '2': 4 };
  const method = {
    name: 'elastic',
    codes: { '8': 'base', '6': 'up', '4': 'near', '2': 'rounded' },
    directions: { '8': { rank: 0, gain: 0 }, '2': { rank: 2, gain: 1 } },
    half_zeros: [2],
    scales: 'F16',
    parameters: { 'model.norm.weight': [8] },
    tables: { 'lm_head.weight': [5, 8] },
  };
  const own = layers.map(([name, layer]) => [name, { ...layer, group_size: sizes, input: name }] as const);
  return { ...config, standalone: digest, offered, transforms: [], layers: Object.fromEntries(own), method };
}

export const sensitivity = {
  kind: 'measured' as const,
  ...{ schema_version: 1, engine_version: '0.1.0', tensors_sha256: digest },
  model: { family: 'vit', name: 'm', fingerprint: digest },
  calibration: { name: 'pictures', samples: 8, fingerprint: digest },
  ...{ bits: [2, 4], layers: ['a', 'b'] },
  costs: [
    [0.1, 1e-9],
    [2.5, 0],
  ],
};

const result = {
  ...{ device: 'cpu', task: 'perplexity', data: '/d', seconds: 3, peakMemory: 1, skipped: [] },
  rows: [
    { label: 'm', kind: 'full', bits: 'fp', bytes: 9, samples: 8, perplexity: 4.5, scoreError: 0.1 },
    { label: 'a', kind: 'adapters', bits: 4, bytes: 3, samples: 8, perplexity: 4.6, kl: 0.1, against: [] },
  ],
};

export const evaluation = {
  ...{ schemaVersion: 1, engineVersion: '0.1.0', model: { family: 'llama', name: 'm', fingerprint: digest } },
  ...{ adapters: [{ label: 'a', tensorsSha256: digest }], result },
};

const job = {
  ...{
    schema_version: 2,
    id: 'lq2x0000-00000001',
    title: 'Work',
    state: 'interrupted',
    created: 5,
    started: 6,
  },
  ...{ progress: 0.4, series: [{ place: 1, points: [{ label: 'loss', value: 0.5 }] }], resumable: true },
  ...{ ended: 9, place: 1, phase: 'block 1', crashes: { total: 1, place: 1, atPlace: 1 }, error: 'none' },
};

export const jobs = [
  {
    ...{ ...job, kind: 'calibrate' },
    request: {
      ...{ model: '/m', data: '/d', out: '/o', resume: true, device: 'cpu', threads: 2, mode: 'weight-only' },
      ...{ length: 128, recipe: 'paper', bits: [8, 4], samples: 8, seed: 0, method: 'quept' },
      options: { groups: [[7, 8], [4]], rank: [16, 32], epochs: 2, batch: 4, loss: 'mse', rotation: 'on' },
    },
  },
  {
    ...{ ...job, kind: 'evaluate', state: 'finished', result },
    request: { model: '/m', data: '/d', adapters: ['/a'], bits: [2], plans: ['/p.json'], task: 'perplexity' },
  },
  { ...job, kind: 'sensitivity', request: { model: '/m', adapters: '/a', data: '/d', samples: 8 } },
  { ...job, kind: 'export', request: { model: '/m', adapters: '/a', out: '/o', bits: 4, format: 'merged' } },
];

export const layers = ['model.layers.0.q', 'model.layers.0.k', 'model.layers.1.q', 'head'];

export const plans = [
  {
    $schema: 's',
    model: '../m',
    adapters: '../m/a',
    default: 4,
    layers: { 'model.layers.0.q': 8, '**.k': 2 },
  },
  { default: 2.3 },
  { layers: { '*': 3, 'model.?ayers.**': 4 }, default: 8, other: { x: [1, { y: null }] } },
];

export const requests = [
  { method: 'ping', params: {} },
  { method: 'models/describe', params: { path: '/nowhere' } },
  { method: 'models/list', params: { folders: ['/nowhere'], search: 's' } },
  { method: 'evaluations/list', params: { folders: ['/nowhere'] } },
  { method: 'adapters/list', params: { folders: ['/nowhere'], models: ['/nowhere'] } },
  { method: 'precision/describe', params: { model: '/nowhere', adapters: '/nowhere' } },
  {
    method: 'precision/allocate',
    params: { model: '/n', budget: 'bytes', constraints: [{ layer: 'a', fixed: 4 }] },
  },
  { method: 'jobs/list', params: {} },
  { method: 'jobs/log', params: { id: 'lq2x0000-00000001' } },
  { method: 'session/use', params: { session: 's', bits: [4, 2.3] } },
  { method: 'session/predict', params: { session: 's', input: { text: 'x', tokens: 4 } } },
].map((request, id) => ({ jsonrpc: '2.0', id, ...request }));
