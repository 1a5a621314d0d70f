/** All export formats. A new one is a file like `merged.ts`, or a folder like `gguf/`, and a line here. */
import { UserError } from '../errors.js';
import { show } from '../formats/paths.js';
import { onnx, onnxTables } from './onnx/onnx.js';
import { awqCheckpoint, compressedTensorsCheckpoint, gptqCheckpoint } from './packed/packed.js';
import { elasticFile } from './elastic/elastic.js';
import type { Exporter } from './exporter.js';
import { gguf } from './gguf/gguf.js';
import { tensorTypes } from './gguf/tensor-types.js';
import { float32Checkpoint, mergedCheckpoint } from './merged.js';

export const exporters: readonly Exporter[] = [
  mergedCheckpoint,
  float32Checkpoint,
  gguf,
  tensorTypes,
  onnx,
  ...onnxTables,
  compressedTensorsCheckpoint,
  gptqCheckpoint,
  awqCheckpoint,
  elasticFile,
];

/** Throws UserError for a name that no format has. */
export function exporterNamed(name: string, known: readonly Exporter[] = exporters): Exporter {
  const found = known.find((exporter) => exporter.name === name);
  if (found) return found;
  throw new UserError(
    `There is no export format ${show(name, 40)}; there are ${known.map((e) => e.name).join(', ')}.`,
  );
}
