/** The questions before a calibration, answered as a person would. */
import type { Workbench } from './workbench.js';

export interface CalibrationAnswers {
  /** Left out where the command already knows it. */
  readonly model?: string | RegExp;
  /** As it is shown; left out for the usual one. */
  readonly method?: string;
  /** As it is shown; left out where the method has one mode for the model. */
  readonly mode?: string;
  readonly bits?: readonly number[];
  /** Left out where the usual method's are meant, or the method needs none. */
  readonly samples?: number;
  /** Left out where the method has none. */
  readonly epochs?: number;
  readonly name: string;
}

/** Takes the sample's data and the processor, changes what is to be other than usual, and starts. */
export async function calibrate(
  editor: Workbench,
  { model, method, mode, bits, samples, epochs, name }: CalibrationAnswers,
): Promise<void> {
  if (model !== undefined) await editor.pick(model);
  await editor.pick(/Sample: /);
  if (method !== undefined) {
    await editor.pick('Change Method…');
    await editor.narrow('How to calibrate', method);
    await editor.pick(method);
    if (mode !== undefined) await editor.pick(mode);
  }
  if (samples !== undefined) {
    await editor.pick('Change Length…');
    await editor.pick('Custom…');
    await editor.type(`${samples}`, 'Samples to calibrate on');
    if (epochs !== undefined) await editor.type(`${epochs}`, 'how often each block sees every sample');
  }
  if (bits !== undefined) {
    await editor.pick('Change Bit-Widths…');
    await editor.pickSeveral(bits.map((width) => (width === 1 ? '1 bit' : `${width} bits`)));
  }
  await editor.pick('Change Device…');
  await editor.pick(/^\s*CPU/);
  await editor.pick('Change Name…');
  await editor.type(name, 'Name of the adapter set');
  await editor.pick('Start calibration');
}
