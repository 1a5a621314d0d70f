/** Sets of rotated models (docs/METHOD.md, section 9). */
import type { LanguageModel } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';

/** Whether a set rotates the model, and changes nothing else of what it computes. */
export function isRotated({ source, original, config }: ExportContext): boolean {
  if (source.checkpoint.model === original.model) return false;
  const { layout } = source.checkpoint.model as LanguageModel;
  const rotations = config.transforms.filter(({ name }) => name === 'rotation');
  return layout !== undefined && rotations.length === 1 && !('keys' in rotations[0]! && rotations[0].keys);
}
