import { expect, it } from 'vitest';
import { exportName } from './names.js';

const SOURCE = { model: 'llama', what: '4-bits' };
const FOLDER = { name: 'safetensors' };
const FILE = { name: 'lines', ending: '.txt' };

it('tells model and bits, and the format by the ending of a file or by name', () => {
  expect(exportName(SOURCE, FILE, () => false)).toBe('llama-4-bits.txt');
  expect(exportName(SOURCE, FOLDER, () => false)).toBe('llama-4-bits-safetensors');
});

it('is none that is taken', () => {
  const taken = ['llama-4-bits.txt', 'llama-4-bits (2).txt', 'llama-4-bits-safetensors'];
  const isTaken = (name: string) => taken.includes(name);
  expect(exportName(SOURCE, FILE, isTaken)).toBe('llama-4-bits (3).txt');
  expect(exportName(SOURCE, FOLDER, isTaken)).toBe('llama-4-bits-safetensors (2)');
});

it('fits where names are at most 255 bytes', () => {
  const name = exportName({ ...SOURCE, model: 'é'.repeat(120) + '😀' }, FILE, () => false);
  expect(Buffer.byteLength(name)).toBeLessThanOrEqual(200);
  expect(name).toMatch(/^é+\.txt$/);
});
