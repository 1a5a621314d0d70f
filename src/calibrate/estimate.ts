/** What a calibration will take, in words. */
import type { CalibrateEstimate } from '../../engine/protocol/protocol.js';
import { formatBytes, formatDuration } from '../common/format.js';
import { vscode } from '../common/vscode.js';
import { choicesOf, estimateRequestOf, type Answers } from './choices.js';
import type { Sources } from './questions.js';

const locale = () => vscode.env.language;

export const amount = ({ samples }: CalibrateEstimate['settings']): string =>
  vscode.l10n.t('{0} samples', new Intl.NumberFormat(locale()).format(samples));

const USUAL_EPOCHS = 15;

/** As the method says them of its settings. */
export const epochsOf = (found: CalibrateEstimate | undefined): number =>
  Number(found?.settings.facts.find(({ label }) => label === 'epochs')?.value ?? USUAL_EPOCHS);

export const cost = ({ seconds, bytes }: CalibrateEstimate): string =>
  vscode.l10n.t('about {0}, up to {1} of memory', formatDuration(seconds), formatBytes(bytes, locale()));

export const estimate = ({ connection, limits }: Sources, answers: Answers): Promise<CalibrateEstimate> =>
  connection.request('calibrate/estimate', {
    request: estimateRequestOf(choicesOf(answers), limits),
  });
