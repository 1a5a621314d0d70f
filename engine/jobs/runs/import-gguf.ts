/** A GGUF file made a checkpoint folder. */
import { resolve } from 'node:path';
import { requireAbsent } from '../../formats/atomic.js';
import { placeOf, tryFile } from '../../formats/output.js';
import { bytesAt } from '../../formats/sizes.js';
import { openGgufImport } from '../../imports/gguf/import.js';
import { whileLocked } from '../../locks/lock.js';
import { openCheckpoint } from '../../models/checkpoint.js';
import type { ImportRequest, ImportResult, JobHooks } from '../requests.js';
import { requireSpace } from './space.js';

export async function runImportGguf(
  { file, out: asked, dtype }: ImportRequest,
  hooks: JobHooks<'import-gguf'>,
): Promise<ImportResult> {
  if (asked.trim() !== '') await requireAbsent(resolve(asked));
  const out = await placeOf(asked);
  return whileLocked(out, async () => {
    await requireAbsent(out);
    await tryFile(out);
    const opened = await openGgufImport(file, dtype);
    await requireSpace(out, opened.bytes);
    const status = (done: number, phase: string) => hooks.status({ done, phase });
    await opened.write(out, { signal: hooks.signal, status });
    const checkpoint = await openCheckpoint(out);
    try {
      const { family, blocks } = checkpoint.model;
      return { out, bytes: await bytesAt(out), family, blocks: blocks.length, types: opened.types };
    } finally {
      await checkpoint.close();
    }
  });
}
