/** The files of a checkpoint folder beside its weights, for exports that stand in its place. */
import { existsSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { applyEdits, modify } from 'jsonc-parser';
import { UserError } from '../errors.js';
import { decodeUtf8 } from '../formats/json.js';
import { MODEL_FILES } from '../formats/model-file-names.js';
import { resolveInside, sizeOfFile } from '../formats/paths.js';

/** Far above any tokenizer; a file that is larger is something else. */
const MAX_BYTES = 256 << 20;

export interface ModelFile {
  readonly name: string;
  readonly bytes: number;
  read(): Promise<Uint8Array>;
}

/**
 * Those that a model has: plain files in its folder, or in the Hugging Face cache that it is in. Throws UserError for one that is
 * a link to anywhere else, no file, or too large.
 */
export async function modelFiles(folder: string): Promise<ModelFile[]> {
  const files: ModelFile[] = [];
  for (const name of MODEL_FILES) {
    if (!existsSync(join(folder, name))) continue;
    const path = await resolveInside(folder, name, folder);
    const bytes = await sizeOfFile(path);
    if (bytes > MAX_BYTES)
      throw new UserError(`${path} is too large to belong to a model beside its weights.`);
    files.push({ name, bytes, read: () => readFile(path) });
  }
  return files;
}

/** The file, or with other content where it is `config.json`. */
export async function withConfig(
  file: ModelFile,
  change: (content: Uint8Array) => Uint8Array,
): Promise<ModelFile> {
  return file.name === 'config.json' ? made(file.name, change(await file.read())) : file;
}

/** A file of such content. */
export const made = (name: string, content: Uint8Array): ModelFile => ({
  name,
  bytes: content.byteLength,
  read: () => Promise.resolve(content),
});

/** The JSON text with a value at a path. All else stays as it is written, numbers that only Python reads among it. */
export function withValue(content: Uint8Array, path: readonly string[], value: unknown): Uint8Array {
  const text = decodeUtf8(content, 'config.json');
  const formattingOptions = { insertSpaces: true, tabSize: 2 };
  return new TextEncoder().encode(applyEdits(text, modify(text, [...path], value, { formattingOptions })));
}

/** Writes a file into a folder that is not there for others yet, and syncs it. */
export async function writeInto(folder: string, name: string, data: Uint8Array): Promise<void> {
  const handle = await open(join(folder, name), 'wx');
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
