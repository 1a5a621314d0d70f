/** The questions before a calibration, answered as a person would. */
import type { Workbench } from './workbench.js';

export interface CalibrationAnswers {
  /** Left out where the command already knows it. */
  readonly model?: string | RegExp;
  /** As it is shown; default QuEPT. */
  readonly method?: string;
  /** As it is shown; left out where the method has one mode for the model. */
  readonly mode?: string;
  readonly bits: readonly number[];
  /** Left out where the method needs none. */
  readonly samples?: number;
  /** Left out where the method has none. */
  readonly epochs?: number;
  readonly name: string;
}

/** Answers all questions with the sample's data and the processor, and starts. */
export async function calibrate(
  editor: Workbench,
  { model, method = 'QuEPT', mode, bits, samples, epochs, name }: CalibrationAnswers,
): Promise<void> {
  if (model !== undefined) await editor.pick(model);
  await editor.pick(method);
  if (mode !== undefined) await editor.pick(mode);
  await editor.pickSeveral(bits.map((width) => `${width} bits`));
  if (samples !== undefined) await editor.pick(/Sample: /);
  await editor.pick(/^\s*CPU/);
  if (samples !== undefined) {
    await editor.pick('Custom…');
    await editor.type(`${samples}`, 'Samples to calibrate on');
  }
  if (epochs !== undefined) await editor.type(`${epochs}`, 'how often each block sees every sample');
  await editor.type(name, 'Name of the adapter set');
  await editor.pick('Start calibration');
}
