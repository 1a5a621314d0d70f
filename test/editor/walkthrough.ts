/** The editor's page of our walkthrough. */
import type { Locator } from 'playwright-core';
import type { Workbench } from './workbench.js';

/** Titles, in order. */
export const STEPS = [
  'Bring a model',
  'Calibrate it once',
  'Find its adapter set',
  'Compare bit-widths',
  'Choose bits for each layer',
  'Take it to your runtime',
];

export interface Walkthrough {
  readonly steps: Locator;
  /** Titles of the steps that are done. */
  readonly ticked: () => Promise<string[]>;
  /** Unfolds a step and presses a button in it. */
  readonly press: (step: string, button: string) => Promise<void>;
}

/** Opens it from the palette. */
export async function openWalkthrough(editor: Workbench): Promise<Walkthrough> {
  await editor.run('Elastic Precision: Get Started');
  const page = editor.page.locator('.gettingStartedContainer');
  const steps = page.locator('.getting-started-step');
  await steps.first().waitFor();
  return {
    steps,
    ticked: () =>
      steps
        .filter({ has: editor.page.getByRole('checkbox', { checked: true }) })
        .locator('.step-title')
        .allInnerTexts(),
    press: async (step, button) => {
      await steps.filter({ hasText: step }).click();
      await page.getByRole('button', { name: button }).click();
    },
  };
}
