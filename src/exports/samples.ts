/** How much of the data a verification reads. */
import { vscode } from '../common/vscode.js';
import { alone, BACK } from '../common/ask.js';
import { formatCount } from '../common/format.js';
import { pickOne } from '../common/inputs.js';

const COUNTS = [64, 256, 1024];

/** The first samples, 0 for all; undefined where nothing is chosen. */
export async function samplesOf(): Promise<number | undefined> {
  const picked = await pickOne<number>(alone(vscode.l10n.t('Verify Export')), {
    placeholder: vscode.l10n.t('How many pictures, windows of text or questions'),
    items: [
      ...COUNTS.map((value) => ({
        value,
        label: vscode.l10n.t('The first {0}', formatCount(value, vscode.env.language)),
      })),
      { value: 0, label: vscode.l10n.t('All') },
    ],
  });
  return picked === BACK ? undefined : picked;
}
