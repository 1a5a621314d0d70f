/** What the command palette finds by the words that people know. */
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';

const read = async <T>(name: string) =>
  JSON.parse(await readFile(new URL(`../${name}`, import.meta.url), 'utf8')) as T;

interface Manifest {
  readonly contributes: {
    readonly commands: readonly { readonly command: string; readonly title: string }[];
    readonly menus: {
      readonly commandPalette: readonly { readonly command: string; readonly when: string }[];
    };
  };
}

it.each([
  'quantize',
  'compress',
  'GPTQ',
  'export',
  'GGUF',
  'ONNX',
  'calibrate',
  'bits',
  'GPU',
  'plan',
  'sensitivity',
])('the palette finds "%s"', async (word) => {
  const { commands, menus } = (await read<Manifest>('package.json')).contributes;
  const texts = await read<Record<string, string>>('package.nls.json');
  const hidden = new Set(
    menus.commandPalette.filter(({ when }) => when === 'false').map((item) => item.command),
  );
  const titles = commands
    .filter(({ command }) => !hidden.has(command))
    .map(({ title }) => texts[title.slice(1, -1)]!.toLowerCase());
  expect(titles.some((title) => title.includes(word.toLowerCase()))).toBe(true);
});
