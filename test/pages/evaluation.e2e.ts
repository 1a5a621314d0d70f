/** The evaluation page on its own: what it recommends, and what a person's choices make it post. */
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import { launch, openPage, type TestPage } from './page.js';
import { evaluationStrings } from './strings.js';
import type { Theme } from './themes.js';

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

const row = (label: string, bits: number, perplexity: number, more: Partial<EvaluationRow> = {}) => ({
  ...{ label, kind: 'adapters', method: 'direct', bits, bytes: bits * 2_000_000, samples: 60 },
  ...{ perplexity, kl: (perplexity - 38) / 100, averageBits: bits + 0.14, ...more },
});

const ROWS = [
  { label: 'full', kind: 'full', bits: 'fp', bytes: 32_000_000, samples: 60, perplexity: 38, kl: 0 },
  row('speeches', 8, 38.01),
  row('speeches', 4, 38.3),
  row('speeches', 2, 44),
  row('mixed', 3.5, 39),
  row('rounding', 3, 60, { kind: 'baseline', method: 'rounding' }),
];

async function open(theme: Theme = 'dark'): Promise<TestPage> {
  const opened = await openPage(browser, 'evaluation', { theme, height: 1000 });
  const setup = { sets: [], bits: [], plans: [], baselines: [], hasLength: true };
  const result = { name: 'r', task: 'perplexity', data: 'speeches.txt', date: 0, device: 'cpu', seconds: 9 };
  const view = {
    locale: 'en',
    model: { name: 'llama-speeches', task: 'perplexity', details: 'llama, 1.3 M' },
    methods: { direct: 'Direct', rounding: 'Rounding' },
    setup,
    result: { ...result, skipped: 0, rows: ROWS },
  };
  await opened.post({ type: 'show', view, strings: await evaluationStrings(), token: 't' });
  await opened.page.getByRole('table').or(opened.page.getByRole('grid')).first().waitFor();
  return opened;
}

const answer = ({ page }: TestPage, index: number) => page.locator('.tile.advice').nth(index).innerText();

/** The toolkit's list opens on a click, as an editor's does. */
async function choose({ page }: TestPage, index: number, text: RegExp): Promise<void> {
  const picker = page.locator('.tile.advice').nth(index).locator('vscode-dropdown');
  await picker.click();
  await picker.locator('vscode-option', { hasText: text }).first().click();
}

it('says what is smallest within a loss and best within a size, and exports it', async () => {
  const opened = await open();
  expect(await answer(opened, 0)).toMatch(/4 bits[^]*speeches: 38\.30 at 8 MB, 25%/);
  expect(await answer(opened, 1)).toMatch(/4 bits[^]*speeches: 38\.30/);

  await choose(opened, 0, /^\s*5%/);
  await expect.poll(() => answer(opened, 0)).toMatch(/3\.5 bits[^]*mixed: 39\.00/);
  await opened.page.locator('.tile.advice').first().locator('vscode-button').click();
  const sent = (await opened.sent()).findLast(({ type }) => type === 'exportModel');
  expect(sent).toMatchObject({ row: { label: 'mixed', bits: 3.5 } });

  // A baseline is nobody's file.
  await choose(opened, 1, /^\s*6 MB/);
  await expect.poll(() => answer(opened, 1)).toMatch(/2 bits[^]*speeches: 44\.00/);
  expect(opened.errors).toEqual([]);
  await opened.page.close();
});

it.each(['dark', 'light', 'contrast', 'contrast-light'] as const)(
  'has what it recommends in view, in %s',
  async (theme) => {
    const opened = await open(theme);
    const { PICTURES } = process.env;
    if (PICTURES)
      await opened.page.screenshot({ path: join(PICTURES, `evaluation-${theme}.png`), fullPage: true });
    const widths = await opened.page
      .locator('.tile')
      .evaluateAll((tiles) => tiles.map(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth));
    expect(widths).toEqual([0, 0, 0]);
    expect(opened.errors).toEqual([]);
    await opened.page.close();
  },
);
