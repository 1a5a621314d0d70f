import { expect, it, vi } from 'vitest';
import type { HubModel } from '../../engine/protocol/protocol.js';

vi.mock('../common/vscode.js', () => ({
  vscode: {
    QuickPickItemKind: { Separator: -1 },
    l10n: {
      t: (text: string, ...args: unknown[]) =>
        text.replace(/\{(\d)\}/g, (_, index: string) => String(args[Number(index)])),
    },
  },
}));
vi.mock('../common/inputs.js', () => ({}));
vi.mock('../common/messages.js', () => ({}));
vi.mock('../configuration.js', () => ({}));
const { problemOf, rowsOf } = await import('./hub.js');

const MODEL: HubModel = {
  ...{ model: 'org/name', revision: 'main', commit: 'c'.repeat(40), licence: 'mit', gated: true },
  files: [
    { name: 'config.json', bytes: 600, here: 0 },
    { name: 'model.safetensors', bytes: 2e9, here: 5e8 },
  ],
  ...{ cache: '/cache', free: 9e9, memory: 8e9 },
  description: {
    ...{ family: 'vit', task: 'image-classification', blocks: 24, parameters: 1.1e9, warnings: ['Beware.'] },
    estimates: [
      {
        ...{ method: 'direct', effort: 'quick', mode: 'weight-only', bits: [4], samples: 8 },
        forecast: { seconds: 600, bytes: 9e9, disk: 0, device: 'cpu' },
      },
    ],
  },
};

it('a model of the hub is shown before it is downloaded, and only the download can be chosen', () => {
  const rows = rowsOf(MODEL, 'en');
  expect(rows.filter(({ value }) => value === true)).toEqual([rows[0]]);
  const said = rows.map(({ label, description }) => [label, description ?? ''].join('|'));
  expect(said[0]).toBe('Download 1.5 GB|to /cache, where 9 GB are free');
  expect(said).toContain('Image classification|vit · 24 blocks · 1.1 B parameters · licence mit, gated');
  expect(said).toContain('Beware.|');
  expect(said).toContain('direct, quick|10 min · 9 GB of memory · more than there is');
  expect(said).toContain('config.json|600 B');
  expect(said).toContain('model.safetensors|2 GB, of which 500 MB are here');
});

it('one that is not supported or finds no room is not worth it', () => {
  expect(problemOf(MODEL, 'en')).toBeUndefined();
  expect(problemOf({ ...MODEL, free: 1e9 }, 'en')).toBe(
    'org/name needs 1.5 GB in /cache, where 1 GB are free.',
  );
  const { description: _, ...other } = MODEL;
  expect(problemOf({ ...other, unsupported: 'No family.' }, 'en')).toBe(
    'org/name is not supported: No family.',
  );
});
