/** What the extension says of tasks. */
import { vscode } from './common/vscode.js';
import type { SupportedModel } from '../engine/protocol/protocol.js';

export interface TaskWords {
  readonly name: string;
  /** What its models are called. */
  readonly model: string;
  /** What a folder, and a file, of its data holds. */
  readonly folders: string;
  readonly files: string;
  /** The data that comes with the extension. */
  readonly samples: { readonly calibration: string; readonly evaluation: string };
}

const WORDS: Readonly<Record<string, () => TaskWords>> = {
  'image-classification': () => ({
    name: vscode.l10n.t('Image classification'),
    model: vscode.l10n.t('Image classification'),
    folders: vscode.l10n.t('pictures, Parquet or IDX files'),
    files: vscode.l10n.t('Parquet or IDX'),
    samples: {
      calibration: vscode.l10n.t('Sample: Fashion-MNIST, 1,024 training pictures'),
      evaluation: vscode.l10n.t('Sample: Fashion-MNIST, 10,000 test pictures'),
    },
  }),
  'text-generation': () => ({
    name: vscode.l10n.t('Text generation'),
    model: vscode.l10n.t('Language model'),
    folders: vscode.l10n.t('text, JSONL or Parquet files'),
    files: vscode.l10n.t('text, JSONL or Parquet'),
    samples: {
      calibration: vscode.l10n.t('Sample: speeches before 2010'),
      evaluation: vscode.l10n.t('Sample: speeches from 2010 on'),
    },
  }),
};

/** Of a task that is not known here, its name alone. */
export const wordsOf = (task: SupportedModel['task']): TaskWords =>
  WORDS[task]?.() ?? {
    name: task,
    model: task,
    folders: '',
    files: '',
    samples: { calibration: '', evaluation: '' },
  };
