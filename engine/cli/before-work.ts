/** Says what work will take before it begins, and asks before long work where somebody sits at a terminal. */
import { createInterface } from 'node:readline/promises';
import { UserError } from '../errors.js';
import type { Forecast } from '../jobs/requests.js';
import { formatForecast } from './format.js';

const LONG_SECONDS = 3600;

export interface Terminal {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

export interface Asked {
  /** Whether long work begins without a question. */
  readonly yes: boolean;
  /** What would make the work shorter, as it is typed. */
  readonly shorter: readonly string[];
}

/** Throws UserError where the answer is not yes. Without a terminal nobody is asked. Aborting `stop` ends the question. */
export async function beforeWork(
  forecast: Forecast,
  { yes, shorter }: Asked,
  stop: AbortController,
  { input, output }: Terminal = { input: process.stdin, output: process.stderr },
): Promise<void> {
  output.write(`${formatForecast(forecast)}.\n`);
  if (forecast.seconds <= LONG_SECONDS) return;
  if (shorter.length > 0) output.write(`Shorter: ${shorter.join(', ')}.\n`);
  if (yes || !input.isTTY || !output.isTTY) return;
  if (!(await confirmed('Begin? [y/N] ', stop, { input, output }))) throw new UserError('Not begun.');
}

/** Whether the answer to a question is yes. Aborting `stop` ends it. */
export async function confirmed(
  question: string,
  stop: AbortController,
  { input, output }: Terminal,
): Promise<boolean> {
  const lines = createInterface({ input, output });
  lines.once('SIGINT', () => stop.abort());
  try {
    const answer = await lines.question(question, { signal: stop.signal }).catch(() => '');
    return /^\s*y(es)?\s*$/i.test(answer);
  } finally {
    lines.close();
  }
}

/** What makes a calibration shorter, by the options that its method has. */
export const shorterCalibration = (options: object): string[] => [
  ...('effort' in options ? ['--effort quick'] : []),
  ...('epochs' in options ? ['fewer --epochs'] : []),
  'fewer --bits',
  'fewer --samples',
  'for text a shorter --length',
];
