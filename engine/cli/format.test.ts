import { describe, expect, it } from 'vitest';
import {
  commandLine,
  divergence,
  formatDevices,
  formatEstimate,
  formatEvaluation,
  formatExported,
  formatExports,
  formatModels,
  parseBytes,
  parseWidths,
  percentage,
  table,
} from './format.js';
import type { ModelReport } from '../protocol/protocol.js';

const lines = (...text: string[]) => text.join('\n');

describe('table', () => {
  it('aligns the first column left and the others right, as wide as their widest cell', () => {
    expect(table(['a', 'number'], [['long name', '1'], ['b', '12345678']])) // prettier-ignore
      .toBe(
        lines('a            number', '─────────  ────────', 'long name         1', 'b          12345678'),
      );
  });

  it('is a header alone without rows', () => {
    expect(table(['model', 'n'], [])).toBe(lines('model  n', '─────  ─'));
  });
});

it.each([
  ['0', 0],
  ['123', 123],
  ['5 B', 5],
  ['4GB', 4e9],
  ['1.5 gb', 1.5e9],
  ['512M', 512e6],
  ['2GiB', 2 ** 31],
  ['1 KiB', 1024],
])('%s is %d bytes', (text, count) => expect(parseBytes(text)).toBe(count));

it.each(['', 'GB', '4 XB', '-1', '1e9', '4GBs', '.5GB'])('"%s" is not an amount of memory', (text) => {
  expect(() => parseBytes(text)).toThrow('write 4GB or 512MB');
});

it.each([
  ['4-8', [8, 7, 6, 5, 4]],
  ['1.08, 2.3,8', [8, 2.3, 1.08]],
  ['4-2,3,3', [4, 3, 2]],
])('"%s" are bit-widths', (text, widths) => expect(parseWidths(text)).toEqual(widths));

it.each(['', '9', '0.5', '2-9', '2.3-4', '4,', 'x'])('"%s" is not a list of bit-widths', (text) => {
  expect(() => parseWidths(text)).toThrow('with widths from 1 to 8');
});

describe('models', () => {
  const supported = {
    supported: true as const,
    family: 'vit',
    task: 'image-classification' as const,
    blocks: 12,
    layers: 74,
    bytes: 88_000_000,
    parameters: 22_050_664,
    warnings: ['vit: one tensor is not read.'],
  };

  it('come as a table, then what to know of them, then what is not supported and why', () => {
    const models: ModelReport[] = [
      { path: 'x/bert', name: 'bert', supported: false, reason: 'no.' },
      { path: 'x/vit', name: 'vit', ...supported },
    ];
    expect(formatModels(models)).toBe(
      lines(
        'model  family  blocks  layers  parameters   size',
        '─────  ──────  ──────  ──────  ──────────  ─────',
        'x/vit     vit      12      74      22.1 M  88 MB',
        'vit: one tensor is not read.',
        'x/bert: not supported: no.',
      ),
    );
    expect(formatModels(models.slice(0, 1))).toBe('x/bert: not supported: no.');
  });

  it('keep to one line each, whatever their names hold', () => {
    const hostile = { path: 'x/\u001b[31mred\nx/forged', name: 'red' };
    const printed = formatModels([
      { ...hostile, ...supported, warnings: ['one\u001b[2K\ntwo'] },
      { ...hostile, supported: false, reason: 'a\u0007b' },
    ]);
    expect(printed).not.toMatch(/[^\P{Cc}\n]/u);
    expect(printed.split('\n')).toHaveLength(5);
  });

  it('say so where there are none', () => {
    expect(formatModels([])).toBe('No checkpoints found.');
  });
});

describe('evaluation', () => {
  it('shows shares in percent, and a dash for what is not known', () => {
    expect(percentage(0.81394)).toBe('81.39');
    expect(percentage(0)).toBe('0.00');
    expect(percentage(undefined)).toBe('–');
    expect(divergence(0.0123456)).toBe('0.01235');
    expect(divergence(undefined)).toBe('–');
  });

  it('has a line a row; full precision does not diverge from itself', () => {
    const rows = [
      { label: 'full', kind: 'full', bits: 'fp', bytes: 86_400_000, samples: 100, top1: 0.9, top5: 1, kl: 0 },
      {
        label: 'rounding',
        kind: 'baseline',
        bits: 4,
        averageBits: 4.157,
        bytes: 11_200_000,
        samples: 100,
        kl: 1.5,
      },
    ] as const;
    expect(formatEvaluation({ task: 'image-classification', rows })).toBe(
      lines(
        'model     bits  per weight     size  top-1 %  top-5 %  KL (nats)  pictures',
        '────────  ────  ──────────  ───────  ───────  ───────  ─────────  ────────',
        'full        fp           –  86.4 MB    90.00   100.00          –       100',
        'rounding     4        4.16  11.2 MB        –        –    1.50000       100',
      ),
    );
  });

  it('compares perplexity with that of full precision', () => {
    const rows = [
      { label: 'full', kind: 'full', bits: 'fp', bytes: 2000, samples: 7, perplexity: 40, kl: 0 },
      { label: 'elastic', kind: 'adapters', bits: 8, bytes: 1000, samples: 7, perplexity: 42, kl: 0.01 },
    ] as const;
    expect(formatEvaluation({ task: 'perplexity', rows })).toBe(
      lines(
        'model    bits  per weight  size  perplexity  against full  KL (nats)  windows',
        '───────  ────  ──────────  ────  ──────────  ────────────  ─────────  ───────',
        'full       fp           –  2 kB       40.00        0.00 %          –        7',
        'elastic     8           –  1 kB       42.00        5.00 %    0.01000        7',
      ),
    );
    expect(formatEvaluation({ task: 'perplexity', rows: rows.slice(1) })).toMatch(/42\.00 {13}– /);
  });

  it('has errors behind scores that have one, and says what they are', () => {
    const gptq = { label: 'gptq', kind: 'baseline', bits: 8, bytes: 1000, samples: 7 } as const;
    const rows = [
      { label: 'full', kind: 'full', bits: 'fp', bytes: 2000, samples: 7, perplexity: 40, kl: 0 },
      { ...gptq, perplexity: 42, kl: 0.01, scoreError: 0.126 },
    ] as const;
    expect(formatEvaluation({ task: 'perplexity', rows })).toBe(
      lines(
        'model  bits  per weight  size   perplexity  against full  KL (nats)  windows',
        '─────  ────  ──────────  ────  ───────────  ────────────  ─────────  ───────',
        'full     fp           –  2 kB        40.00        0.00 %          –        7',
        'gptq      8           –  1 kB  42.00 ±0.13        5.00 %    0.01000        7',
        '±: standard error of the distance from full precision.',
      ),
    );
    expect(
      formatEvaluation({
        task: 'image-classification',
        rows: [{ ...gptq, top1: 0.5, scoreError: 0.0123 }],
      }),
    ).toMatch(/ 50\.00 ±1\.2 /);
    expect(
      formatEvaluation({ task: 'multiple-choice', rows: [{ ...gptq, accuracy: 0.5, scoreError: 0.25 }] }),
    ).toMatch(/ 50\.00 ±25 /);
    // Both digits, a zero too.
    expect(
      formatEvaluation({ task: 'multiple-choice', rows: [{ ...gptq, accuracy: 0.057, scoreError: 0.02 }] }),
    ).toMatch(/ 5\.70 ±2\.0 /);
  });

  it('holds adapter sets against each baseline, and marks what is more than chance', () => {
    const elastic = { label: 'elastic', kind: 'adapters', bytes: 1000, samples: 7 } as const;
    const rtn = { label: 'rounding', kind: 'baseline' } as const;
    const rows = [
      {
        ...{ ...elastic, bits: 8, perplexity: 42, kl: 0.01 },
        against: [
          { ...rtn, score: 0.0123, scoreError: 0.0071, kl: -0.00002, klError: 0.0000051 },
          { label: 'gptq', kind: 'baseline', score: -1, scoreError: 0 },
        ],
      },
      { ...elastic, bits: 2, perplexity: 50, kl: 0.5, against: [{ ...rtn, score: -16.5, scoreError: 1.25 }] },
    ] as const;
    expect(formatEvaluation({ task: 'perplexity', rows }).split('\n\n').slice(1)).toEqual([
      lines(
        'Less rounding, on the same windows:',
        'model    bits         perplexity                KL (nats)',
        '───────  ────  ─────────────────  ───────────────────────',
        'elastic     8  +0.0123 ±0.0071    -0.0000200 ±0.0000051 *',
        'elastic     2       -16.5 ±1.3 *                        –',
      ),
      lines(
        'Less gptq, on the same windows:',
        'model    bits  perplexity',
        '───────  ────  ──────────',
        'elastic     8       -1.00',
        '±: standard error of the difference; *: more than two of them, hardly chance.',
      ),
    ]);
  });

  it('shows both accuracies of multiple choice', () => {
    const row = { label: 'gptq', kind: 'baseline', bits: 4, bytes: 900, samples: 8 } as const;
    const rows = [{ ...row, accuracy: 0.5, accuracyNormalised: 0.625 }];
    expect(formatEvaluation({ task: 'multiple-choice', rows })).toBe(
      lines(
        'model  bits  per weight   size  accuracy %  normalised %  questions',
        '─────  ────  ──────────  ─────  ──────────  ────────────  ─────────',
        'gptq      4           –  900 B       50.00         62.50          8',
      ),
    );
  });
});

it.each([
  ['a', 'elastic-precision evaluate a'],
  ['sets/my set', "elastic-precision evaluate 'sets/my set'"],
  ["$(rm) it's", "elastic-precision evaluate '$(rm) it'\\''s'"],
  ['', "elastic-precision evaluate ''"],
])('%s is one word of a shell', (name, line) => expect(commandLine('evaluate', name)).toBe(line));

it('an estimate says time, memory and what for', () => {
  const settings = {
    method: 'gptq',
    mode: 'weight-only',
    bits: [4, 3],
    samples: 128,
    seed: 0,
    facts: [],
  } as const;
  const estimate = {
    seconds: 200,
    bytes: 1.5e9,
    disk: 45e6,
    device: 'cpu',
    gflops: 1,
    gflop: 1,
    settings,
  } as const;
  expect(formatEstimate(estimate)).toBe(
    'About 3 min 20 s on cpu, with up to 1.5 GB of memory and 45 MB on disk: the method "gptq", 4, 3 bits, 128 samples.',
  );
  expect(formatEstimate({ ...estimate, settings: { ...settings, samples: 0 } })).not.toMatch(/samples/);
});

it('devices have a speed, or the reason why there is none', () => {
  expect(
    formatDevices([
      { kind: 'cpu', available: true, name: 'Some processor', gflops: 123.4, gelements: 1, overhead: 1e-6 },
      { kind: 'cuda', available: false, reason: 'no driver' },
    ]),
  ).toMatch(/^cpu {5}Some processor: 123 GFLOP\/s .*\ncuda {4}not available: no driver$/);
});

describe('exports', () => {
  const common = { title: 'A', description: 'a format' };

  it('are listed by what they take, and by why they refuse', () => {
    const text = formatExports([
      {
        ...{ ...common, name: 'one', size: { bytes: 1_290_000, isExact: true } },
        held: [{ container: '4 bits', bits: 4, layers: 8 }],
        warning: 'Some readers differ.',
      },
      {
        ...{ ...common, name: 'two', size: { bytes: 2_000_000, isExact: false } },
        held: [
          { container: 'Q4_K', bits: 4, layers: 5, distance: 0.0007 },
          { container: 'Q4_1', bits: 4, layers: 3 },
        ],
      },
      { ...common, name: 'all', size: { bytes: 1000, isExact: true } },
      { ...common, name: 'three', refusal: 'It cannot.' },
    ]);
    expect(text.split('\n').map((line) => line.replace(/ +/g, ' '))).toEqual([
      'format size holds layers',
      '────── ──────────── ──────────────────────────────────────',
      'one 1.29 MB exactly',
      'two at most 2 MB fitted: 5 in Q4_K to 0.07 %, 3 exactly',
      'all 1 kB ',
      'one: Some readers differ.',
      'three: It cannot.',
    ]);
  });

  it('say how far tensors are from the set', () => {
    const result = {
      out: '/a',
      format: 'gguf',
      bits: 4,
      bytes: 1000,
      device: 'cpu' as const,
      seconds: 1,
      peakMemory: 1,
    };
    expect(formatExported(result)).toMatch(/^Wrote \/a: gguf, 4 bits per weight/);
    expect(formatExported({ ...result, serve: 'llama-server --model /a' })).toMatch(
      /\nRun it: llama-server --model \/a$/,
    );
    expect(formatExported({ ...result, out: '/a\nWrote b' })).toMatch(/^Wrote \/a\\u000aWrote b: gguf/);
    const distances = [0, 1e-6, 0.0014];
    const fits = distances.map((distance, i) => ({ tensor: `t${i}`, container: 'Q4_K', distance }));
    const lines = formatExported({ ...result, fits }).split('\n');
    expect(lines.slice(2, 5).map((line) => line.split(/ {2,}/).at(-1))).toEqual([
      '0 %',
      '< 0.01 %',
      '0.14 %',
    ]);
  });
});
