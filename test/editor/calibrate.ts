/** The questions before a calibration, answered as a person would. */
import type { Workbench } from './workbench.js';

export interface CalibrationAnswers {
  /** Left out where the command already knows it. */
  readonly model?: string;
  readonly bits: readonly number[];
  readonly samples: number;
  readonly epochs: number;
  readonly name: string;
}

/** Answers all questions with the sample's data and the processor, and starts. */
export async function calibrate(
  editor: Workbench,
  { model, bits, samples, epochs, name }: CalibrationAnswers,
): Promise<void> {
  if (model !== undefined) await editor.pick(model);
  await editor.pick('Weights and activations');
  await editor.pickSeveral(bits.map((width) => `${width} bits`));
  await editor.pick(/Sample: /);
  await editor.pick(/^\s*CPU/);
  await editor.pick('Custom…');
  await editor.type(`${samples}`, 'Samples to calibrate on');
  await editor.type(`${epochs}`, 'how often each block sees every sample');
  await editor.type(name, 'Name of the adapter set');
  await editor.pick('Start calibration');
}
