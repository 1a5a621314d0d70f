/** The precision editor's page on its own: what a person's keys and pointer make it post, and how fast it is. */
import { join } from 'node:path';
import type { Browser, Locator } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeBits, encodeBits } from '../../engine/plans/bits.js';
import type { Live, Strings } from '../../webview/precision/protocol.js';
import { launch, openPage, type TestPage } from './page.js';
import { frontierOf, showOf, tableOf } from './precision-model.js';
import { precisionStrings } from './strings.js';
import type { Theme } from './themes.js';

let browser: Browser;
let strings: Strings;
const table = tableOf(36);
const points = frontierOf(table);

beforeAll(async () => {
  browser = await launch();
  strings = await precisionStrings();
});
afterAll(() => browser.close());

const uniform = (count: number, bits: number) => Array<number>(count).fill(bits);
const plan = (bits: readonly number[], more: object = {}) => ({ type: 'plan', bits, problems: [], ...more });

/** The page with a model and a plan, and its frontier answered. */
async function open(
  options: Parameters<typeof openPage>[2] = {},
  bits = uniform(36, 4),
  [shown, best] = [table, points],
): Promise<TestPage> {
  const opened = await openPage(browser, 'precision', options);
  await opened.post(showOf(shown, strings), plan(bits));
  await expect.poll(async () => (await opened.sent()).some(({ type }) => type === 'frontier')).toBe(true);
  const { id } = (await opened.sent()).find(({ type }) => type === 'frontier')!;
  await opened.post({ type: 'answer', id, result: { points: best } });
  await opened.page.getByRole('slider').waitFor();
  return opened;
}

const last = async (opened: TestPage, type: string) =>
  (await opened.sent()).findLast((message) => message.type === type);
const row = ({ page }: TestPage, name: string | RegExp) => page.getByRole('row', { name }).first();
const average = ({ page }: TestPage) => page.locator('.tile .value').first().innerText();

describe('the page', () => {
  it('shows every layer with its bits, its share and its cost, and the totals', async () => {
    const opened = await open();
    const label = await row(opened, /^attention\.query, 4 bits, encoder\.layer\.0/).getAttribute(
      'aria-label',
    );
    expect(label).toMatch(/cost 0\.02500, [\d.]+%/);
    expect(await average(opened)).toBe('4.00');
    expect(await opened.page.getByRole('grid').getAttribute('aria-rowcount')).toBe(String(36 + 6 + 1));
    expect(opened.errors).toEqual([]);
    await opened.page.close();
  });

  it('sets bits by pointer and by keyboard, of one layer and of a selection', async () => {
    const opened = await open();
    await row(opened, /^attention\.query, .*layer\.0/)
      .locator('[data-bits="8"]')
      .click();
    expect(await last(opened, 'set')).toEqual({ type: 'set', changes: [[0, 8]] });
    expect(await average(opened)).toBe('4.06');
    await opened.page.keyboard.press('ArrowDown');
    await opened.page.keyboard.press('3');
    expect(await last(opened, 'set')).toEqual({ type: 'set', changes: [[1, 3]] });
    await opened.page.keyboard.press('Shift+ArrowDown');
    await opened.page.keyboard.press('Shift+ArrowDown');
    await opened.page.keyboard.press('ArrowRight');
    expect(await last(opened, 'set')).toEqual({ type: 'set', changes: [[1, 4], [2, 5], [3, 5]] }); // prettier-ignore
    expect(await opened.page.getByRole('log').locator('p').last().textContent()).toBe(
      '4, 5 bits for 3 layers',
    );
    await opened.page.keyboard.press('Control+d');
    expect(await last(opened, 'set')).toEqual({ type: 'set', changes: [[2, 4], [3, 4]] }); // prettier-ignore
    await opened.page.keyboard.press('Control+a');
    await opened.page.keyboard.press('6');
    expect(((await last(opened, 'set')) as { changes: unknown[] }).changes).toHaveLength(36);
    expect(await average(opened)).toBe('6.00');
    const focused = () => opened.page.evaluate("document.activeElement?.getAttribute('aria-label') ?? ''");
    expect(await focused()).toMatch(/^attention\.output, 6 bits/);
    await opened.page.keyboard.press('End');
    expect(await focused()).toMatch(/^output\.dense, 6 bits, encoder\.layer\.5/);
    expect(opened.errors).toEqual([]);
    await opened.page.close();
  });

  it('drags the budget: the rows follow at once, the plan is told at the end', async () => {
    const opened = await open();
    const slider = opened.page.getByRole('slider');
    const box = (await slider.boundingBox())!;
    const before = await average(opened);
    await opened.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await opened.page.mouse.down();
    await opened.page.mouse.move(box.x + box.width * 0.9, box.y + box.height / 2, { steps: 8 });
    await expect.poll(() => average(opened)).not.toBe(before);
    expect(await last(opened, 'setAll')).toBeUndefined();
    const shown = await average(opened);
    await opened.page.mouse.up();
    await expect.poll(() => last(opened, 'setAll')).toBeDefined();
    const { bits } = (await last(opened, 'setAll')) as { bits: number[] };
    expect(points.map((point) => decodeBits(point.bits, table.bits))).toContainEqual(bits);
    expect(shown).toBe(await average(opened));
    expect((await opened.sent()).filter(({ type }) => type === 'frontier')).toHaveLength(1);
    await opened.page.close();
  });

  it('drags the budget away and back: nothing is asked, and the plan is shown as it is', async () => {
    const opened = await open();
    const slider = opened.page.getByRole('slider');
    const box = (await slider.boundingBox())!;
    const y = box.y + box.height / 2;
    // Where the thumb stands: its own width stays within the track.
    const value = await slider.inputValue();
    const share = Number(value) / Number(await slider.getAttribute('max'));
    const x = box.x + 8 + share * (box.width - 16);
    await opened.page.mouse.move(x, y);
    await opened.page.mouse.down();
    await opened.page.mouse.move(box.x + box.width * 0.9, y, { steps: 4 });
    await expect.poll(() => average(opened)).not.toBe('4.00');
    await opened.page.mouse.move(x, y, { steps: 4 });
    await expect.poll(() => slider.inputValue()).toBe(value);
    await opened.page.mouse.up();
    await expect.poll(() => average(opened)).toBe('4.00');
    expect(await last(opened, 'setAll')).toBeUndefined();
    await opened.page.close();
  });

  it('leaves the focus on the control that was used, and reads an answer once', async () => {
    const opened = await open();
    const live: Live = { state: 'open', keep: false, data: 'pictures', measured: [] };
    const classes = [{ label: 'Sandal', probability: 0.9 }];
    await opened.post({ type: 'live', live }, { type: 'tried', result: { seconds: 0.1, memory: 512e6, plan: { classes }, full: { classes } } }); // prettier-ignore
    await opened.page.getByText('Same answer as full precision').waitFor();
    await opened.page.evaluate(`(() => {
      window.read = 0;
      const count = new MutationObserver(() => window.read++);
      for (const live of document.querySelectorAll('[aria-live], [role="alert"]'))
        count.observe(live, { childList: true, subtree: true, characterData: true });
    })()`);
    const keep = opened.page.getByRole('checkbox', { name: 'Keep measuring' });
    await keep.focus();
    await opened.page.keyboard.press('Space');
    expect(await last(opened, 'act')).toEqual({ type: 'act', action: 'keep' });
    await opened.post({ type: 'live', live: { ...live, keep: true, measuring: { done: 1, total: 9 } } });
    await opened.page.getByRole('button', { name: 'Cancel' }).waitFor();
    expect(await opened.page.evaluate('document.activeElement.textContent')).toBe('Keep measuring');
    expect(await opened.page.evaluate('window.read')).toBe(0);
    await opened.page.close();
  });

  it('shows texts as they come, and then how fast they came and what the open model takes', async () => {
    const opened = await open({ width: 1200, height: 1000 });
    await opened.post(showOf({ ...table, task: 'text-generation' }, strings), plan(uniform(36, 4)));
    const live: Live = { state: 'open', keep: false, measured: [], switching: true };
    await opened.post(
      { type: 'live', live },
      { type: 'tried', partial: { plan: ' or not to be, that is', full: ' or not' } },
    );
    await opened.page.getByText('Switching…').waitFor();
    const answers = opened.page.locator('.answers');
    const texts = () => answers.locator('.answer .text').allInnerTexts();
    await expect.poll(texts).toEqual([' or not to be, that is', ' or not']);
    // Whoever hears the page hears the answer when it is whole.
    expect(await answers.getAttribute('aria-busy')).toBe('true');
    const answer = (text: string, seconds: number) => ({ text, tokens: 24, seconds, next: [{ token: ' or', probability: 0.5 }] }); // prettier-ignore
    await opened.post({
      type: 'tried',
      result: { seconds: 3, memory: 512e6, plan: answer(' or not', 0.5), full: answer(' or not to', 6) },
    });
    await opened.page.getByText('24 tokens · 48/s').waitFor();
    await opened.page.getByText('24 tokens · 4.0/s').waitFor();
    await opened.page.getByText('The open model takes 512 MB of memory.').waitFor();
    expect(await answers.getAttribute('aria-busy')).toBe('false');
    expect(opened.errors).toEqual([]);
    await opened.page.close();
  });

  it('offers presets, filters, sorts and pins', async () => {
    const opened = await open();
    await opened.page.getByRole('button', { name: 'All 6 bits' }).click();
    expect(await last(opened, 'setAll')).toEqual({ type: 'setAll', bits: uniform(36, 6) });
    await opened.page.getByRole('button', { name: /no larger than all layers at 3 bits/ }).click();
    const best = (await last(opened, 'setAll')) as { bits: number[] };
    const found = points.find(({ bits }) => bits === encodeBits(best.bits, table.bits));
    expect(found!.averageBits).toBeLessThanOrEqual(3.5);
    await opened.page.getByRole('searchbox').fill('layer.3 dense');
    await expect.poll(() => opened.page.locator('.line.layer').count()).toBe(2);
    await row(opened, /^output\.dense/).click();
    await opened.page.keyboard.press('p');
    await opened.page.getByRole('searchbox').fill('');
    expect(await row(opened, /pinned/).getAttribute('aria-rowindex')).toBe('2');
    const pinned = (await last(opened, 'frontier')) as { pinned: unknown[] };
    expect(pinned.pinned).toEqual([[23, best.bits[23]]]);
    expect(await last(opened, 'pin')).toEqual({ type: 'pin', layers: [table.layers[23]!.name] });
    // It stands above all blocks, and says of which it is.
    expect(
      await row(opened, /pinned/)
        .locator('.name')
        .innerText(),
    ).toMatch(/^layer\.3\s+output\.dense$/);
    await opened.page.close();
  });

  it('keeps its title in view: nothing lengthens the document, not even what readers of screens alone see', async () => {
    const opened = await open({ width: 1200, height: 760 });
    const live: Live = { ...{ state: 'open', keep: false, measured: [] }, data: 'pictures' };
    await opened.post({ type: 'live', live }, { type: 'tried', error: 'It cannot be read.' });
    await opened.page.locator('#picture').focus();
    await opened.page.mouse.move(300, 30);
    await opened.page.mouse.wheel(0, 400);
    const sizes = 'const { scrollHeight, clientHeight, scrollTop } = document.scrollingElement; [scrollHeight - clientHeight, scrollTop]'; // prettier-ignore
    expect(await opened.page.evaluate(sizes)).toEqual([0, 0]);
    await opened.page.close();
  });

  it('has a column for each bit-width that is offered, fractions of a bit too', async () => {
    const offered = [1.08, 2, 2.3, 4];
    const fractions = tableOf(36, offered);
    const opened = await open({}, uniform(36, 2.3), [fractions, frontierOf(fractions)]);
    expect(await average(opened)).toBe('2.30');
    const head = opened.page.locator('.line.head .bits');
    expect(await head.allInnerTexts()).toEqual(['1.08', '2', '2.3', '4']);
    const query = row(opened, /^attention\.query, 2\.3 bits, encoder\.layer\.0/);
    // No label is wider than its cell.
    expect(await query.locator('.bits').evaluateAll(OVERFLOWING)).toEqual([]);
    await query.locator('[data-bits="1.08"]').click();
    expect(await last(opened, 'set')).toEqual({ type: 'set', changes: [[0, 1.08]] });
    await opened.page.keyboard.press('2');
    expect(await last(opened, 'set')).toEqual({ type: 'set', changes: [[0, 2]] });
    await opened.page.keyboard.press('2');
    expect(await last(opened, 'set')).toEqual({ type: 'set', changes: [[0, 2.3]] });
    await opened.page.keyboard.press('ArrowRight');
    expect(await last(opened, 'set')).toEqual({ type: 'set', changes: [[0, 4]] });
    expect(await opened.page.getByRole('log').locator('p').last().textContent()).toBe('4 bits for 1 layer');
    await opened.page.getByRole('button', { name: 'All 1.08 bits' }).click();
    expect(await last(opened, 'setAll')).toEqual({ type: 'setAll', bits: uniform(36, 1.08) });
    const slider = opened.page.getByRole('slider');
    await slider.focus();
    await opened.page.keyboard.press('ArrowRight');
    const { bits } = (await last(opened, 'setAll')) as { bits: number[] };
    expect(new Set(bits)).toEqual(new Set([1.08, 2]));
    expect(await opened.page.locator('.uniform text').allTextContents()).toEqual(['1.08', '2', '2.3', '4']);
    expect(opened.errors).toEqual([]);
    await opened.page.close();
  });

  it('shows how far the measurement of the layers is, in place of the offer to begin it', async () => {
    const opened = await openPage(browser, 'precision');
    const { sensitivity: _, ...unmeasured } = table;
    const lack = { lack: 'sensitivity', text: 'Not measured yet.', action: 'Compute Sensitivity…' };
    await opened.post({ ...showOf(unmeasured, strings), lacks: [lack] }, plan(uniform(36, 4)));
    const notices = opened.page.locator('.notices');
    await notices.getByText('Not measured yet.').waitFor();
    const bar = notices.getByRole('progressbar');
    expect(await bar.count()).toBe(0);
    await opened.post({ type: 'measuring', job: { text: 'queued' } });
    await notices.getByText(/is being measured/).waitFor();
    expect(await notices.getByText('Not measured yet.').count()).toBe(0);
    expect([await bar.getAttribute('value'), await bar.getAttribute('aria-label')]).toEqual([
      null,
      strings.measuringLayers,
    ]);
    await opened.page.evaluate("window.line = document.querySelector('.notices [role=status]')");
    await opened.post({ type: 'measuring', job: { share: 0.25, text: '25% · 2 min left' } });
    await notices.getByText('25% · 2 min left').waitFor();
    expect(await bar.getAttribute('value')).toBe('0.25');
    // It is read once, not with every percent.
    expect(await opened.page.evaluate("window.line === document.querySelector('.notices [role=status]')")).toBe(true); // prettier-ignore
    await notices.getByRole('button', { name: 'Show Jobs' }).click();
    expect(await last(opened, 'act')).toEqual({ type: 'act', action: 'jobs' });
    await opened.post({ type: 'measuring' });
    await notices.getByRole('button', { name: 'Compute Sensitivity…' }).waitFor();
    expect(await bar.count()).toBe(0);
    expect(opened.errors).toEqual([]);
    await opened.page.close();
  });

  it.each(['dark', 'light', 'contrast', 'contrast-light'] as const)(
    'a part that is done is told from the rest: %s',
    async (theme) => {
      const opened = await openPage(browser, 'precision', { theme });
      const lacks = [{ lack: 'sensitivity', text: 'Not measured yet.' }];
      await opened.post({ ...showOf(table, strings), lacks }, plan(uniform(36, 4)));
      await opened.post({ type: 'measuring', job: { share: 0.5, text: '50%' } });
      const bar = opened.page.getByRole('progressbar').filter({ visible: true });
      await bar.evaluate(SETTLED);
      const { data, info } = await sharp(await bar.screenshot()).removeAlpha().raw().toBuffer({ resolveWithObject: true }); // prettier-ignore
      const at = (share: number) => {
        const start = (Math.floor(info.height / 2) * info.width + Math.floor(share * info.width)) * 3;
        return [...data.subarray(start, start + 3)];
      };
      expect(at(0.25)).not.toEqual(at(0.75));
      await opened.page.close();
    },
  );

  it('says once what the engine warned of when it opened the model', async () => {
    const opened = await open();
    const warnings = ['vit: one tensor is not read.', 'vit: the stored head differs.'];
    const live: Live = { state: 'open', keep: false, measured: [], warnings };
    await opened.post({ type: 'live', live });
    const lines = opened.page.locator('ul.warning li');
    await expect.poll(() => lines.allInnerTexts()).toEqual(warnings);
    await opened.page.evaluate("window.line = document.querySelector('ul.warning li')");
    await opened.post({ type: 'live', live: { ...live, switched: { layers: 1, seconds: 0.002 } } });
    await opened.page.getByText('1 layer switched').waitFor();
    expect(await opened.page.evaluate("window.line === document.querySelector('ul.warning li')")).toBe(true);
    await opened.post({ type: 'live', live: { state: 'closed', keep: false, measured: [] } });
    await expect.poll(() => lines.count()).toBe(0);
    expect(opened.errors).toEqual([]);
    await opened.page.close();
  });

  it('is read-only while the text is broken, and goes on when it is repaired', async () => {
    const opened = await open();
    await opened.post(plan(uniform(36, 4), { broken: 'This is not JSON: value expected.' }));
    await opened.page.getByRole('alert').filter({ hasText: 'value expected' }).waitFor();
    await row(opened, /^attention\.query/)
      .locator('[data-bits="8"]')
      .click({ force: true });
    expect(await last(opened, 'set')).toBeUndefined();
    await opened.post(plan(uniform(36, 5)));
    await expect.poll(() => average(opened)).toBe('5.00');
    expect(await opened.page.getByRole('alert').filter({ visible: true }).count()).toBe(0);
    await opened.page.close();
  });
});

describe('ten thousand layers', () => {
  it('scroll without a blank frame, however fast; the times are printed', async () => {
    const many = tableOf(10_000);
    const opened = await openPage(browser, 'precision');
    const messages = JSON.stringify([showOf(many, strings), plan(uniform(10_000, 4))]);
    await opened.page.evaluate(`window.messages = ${messages}`);
    const loaded = await opened.page.evaluate<number>(LOAD);
    const blanks = await opened.page.evaluate<{ blank: number; longest: number; frames: number }>(SCROLL);
    // eslint-disable-next-line no-console
    console.log(
      `10,000 layers: shown after ${loaded.toFixed(0)} ms; ${blanks.frames} frames of scrolling, ` +
        `the longest ${blanks.longest.toFixed(0)} ms, ${blanks.blank} with a missing line`,
    );
    expect(blanks.blank).toBe(0);
    const lines = await opened.page.locator('.canvas > .line').all();
    expect(lines.length).toBeLessThan(120);
    const places = await Promise.all(
      lines.map(async (line) => Number(await line.getAttribute('aria-rowindex'))),
    );
    expect(places).toEqual([...places].sort((a, b) => a - b));
    await opened.page.close();
  });
});

/** From the first message to the picture that has the layers. */
const LOAD = `(async () => {
  const started = performance.now();
  for (const message of window.messages) window.postMessage(message, '*');
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  while (!document.querySelector('.line.layer')) await frame();
  await frame();
  return performance.now() - started;
})()`;

/** Scrolls from top to bottom in jumps of all sizes, and looks at every frame whether a line is missing from the view. */
const SCROLL = `(async () => {
  const scroller = document.querySelector('.scroller');
  const result = { blank: 0, longest: 0, frames: 0 };
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const missing = () => {
    const { left, top, width, height } = scroller.getBoundingClientRect();
    for (let y = 4; y < height; y += 26)
      if (!document.elementFromPoint(left + width / 4, top + y)?.closest('.canvas > .line')) return true;
    return false;
  };
  const bottom = scroller.scrollHeight - scroller.clientHeight;
  let before = await frame();
  for (let i = 0; i < 240; i++) {
    scroller.scrollTop = i < 120 ? i * 90 : i % 3 === 0 ? bottom * ((i * 0.37) % 1) : scroller.scrollTop + 2000;
    const now = await frame();
    // The next frame shows what this one drew.
    const shown = await frame();
    if (missing()) result.blank++;
    result.longest = Math.max(result.longest, now - before, shown - now);
    result.frames += 2;
    before = shown;
  }
  return result;
})()`;

describe('every theme', () => {
  it.each<Theme>(['dark', 'light', 'contrast', 'contrast-light'])('%s', async (theme) => {
    const opened = await open({ theme, width: 1320, height: 860 }, table.layers.map((_, i) => 2 + ((i * 5) % 6))); // prettier-ignore
    const live: Live = {
      ...{ state: 'open', keep: true, data: 'evaluation-images', switched: { layers: 1, seconds: 0.0031 } },
      measured: [
        {
          bits: uniform(36, 4),
          ...{ metric: 'top1', value: 0.8712, full: 0.897, error: 0.003, kl: 0.0123 },
          ...{ samples: 1000, seconds: 2 },
        },
        {
          bits: decodeBits(points[60]!.bits, table.bits),
          ...{ metric: 'top1', value: 0.8745, full: 0.897, error: 0.002, kl: 0.00912 },
          samples: 1000,
          seconds: 2,
        },
      ],
    };
    await opened.post(
      { type: 'live', live },
      { type: 'comparison', other: { name: 'fast', bits: decodeBits(points[90]!.bits, table.bits) } },
    );
    const classes = (first: number) => ({
      classes: ['Sneaker', 'Sandal', 'Ankle boot', 'Bag', 'Shirt'].map((label, i) => ({ label, probability: first / 3 ** i })), // prettier-ignore
    });
    await opened.post({
      type: 'tried',
      result: { seconds: 0.1, memory: 512e6, plan: classes(0.61), full: classes(0.66) },
    });
    await opened.page.getByText('Same answer as full precision').waitFor();
    await row(opened, /^attention\.value, .*layer\.1/).click();
    const shape = await opened.page.evaluate<{
      wide: boolean;
      selected: string;
      plain: string;
      apart: number[];
    }>(`(() => {
      const centers = (of) => [...document.querySelectorAll(of + ' .bits')].map((cell) => {
        const { left, right } = cell.getBoundingClientRect();
        return (left + right) / 2;
      });
      const below = centers('.line.layer');
      const cell = (name) => getComputedStyle(document.querySelector(name)).backgroundColor;
      return {
        wide: document.documentElement.scrollWidth > innerWidth,
        selected: cell('.line.layer .bits.on'),
        plain: cell('.line.layer .bits:not(.on)'),
        apart: centers('.line.head').map((x, i) => x - below[i]),
      };
    })()`);
    expect(shape.wide).toBe(false);
    expect(shape.selected).not.toBe(shape.plain);
    // A column's title stands above its cells.
    expect(shape.apart).toEqual(table.bits.map(() => 0));
    expect(opened.errors).toEqual([]);
    const { PICTURES } = process.env;
    if (PICTURES) await opened.page.screenshot({ path: join(PICTURES, `precision-${theme}.png`) });
    await opened.page.close();
  });
});

describe('the heat of cells', () => {
  it.each<Theme>(['dark', 'light'])('leaves their digits readable in the %s theme', async (theme) => {
    const opened = await open({ theme });
    const colours = await opened.page.evaluate<[string, string][]>(HEAT_COLOURS);
    expect(new Set(colours.map(([, behind]) => behind)).size).toBe(10);
    const brightness = colours.map(([, behind]) => luminance(behind));
    expect(brightness).toEqual([...brightness].sort((a, b) => (theme === 'dark' ? a - b : b - a)));
    // WCAG 2.2, 1.4.3
    for (const [level, [text, behind]] of colours.entries())
      expect(contrast(text, behind), `level ${level}`).toBeGreaterThanOrEqual(4.5);
    await opened.page.close();
  });
});

describe('high contrast', () => {
  it.each<[Theme, string]>([
    ['contrast', '#ffd370'],
    ['contrast-light', '#895503'],
  ])('%s: the more bits cost, the more of their cell is marked, beside the digit', async (theme, hot) => {
    const opened = await open({ theme });
    const layer = row(opened, /^attention\.query, .*layer\.0/);
    const marked = (bits: number) => pixelsOf(layer.locator(`[data-bits="${bits}"]`), hot);
    const cells = [await marked(2), await marked(3), await marked(5), await marked(7)];
    const counts = cells.map(({ count }) => count);
    expect(new Set(counts).size).toBe(counts.length);
    expect(counts).toEqual([...counts].sort((a, b) => b - a));
    const digit = await opened.page.evaluate<number>(DIGIT_END);
    for (const { left } of cells) expect(left).toBeGreaterThan(digit);
    expect((await marked(4)).count).toBe(0);
    await opened.page.close();
  });
});

/** Text and background of a cell at each of the ten levels. */
const HEAT_COLOURS = `(() => {
  const cell = document.querySelector('.line.layer .bits:not(.on)');
  return Array.from({ length: 10 }, (_, level) => {
    cell.className = 'bits heat-' + level;
    const { color, backgroundColor } = getComputedStyle(cell);
    return [color, backgroundColor];
  });
})()`;

/** Of a computed colour, `rgb(…)` or `color(srgb …)` (WCAG 2.2, relative luminance). */
function luminance(colour: string): number {
  const unit = colour.startsWith('rgb') ? 255 : 1;
  const [r, g, b] = colour.match(/\d[\d.e-]*/g)!.map((channel) => {
    const c = Number(channel) / unit;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

/** Of two colours, 1 to 21 (WCAG 2.2, contrast ratio). */
function contrast(a: string, b: string): number {
  const [dark, bright] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (bright! + 0.05) / (dark! + 0.05);
}

/** Texts of cells that do not fit. */
const OVERFLOWING = (cells: readonly unknown[]): (string | null)[] =>
  (cells as { scrollWidth: number; clientWidth: number; textContent: string | null }[])
    .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
    .map(({ textContent }) => textContent);

/** Until nothing of an element moves. */
const SETTLED = async (element: unknown): Promise<void> => {
  const moving = element as { getAnimations(of: object): { finished: Promise<unknown> }[] };
  await Promise.all(moving.getAnimations({ subtree: true }).map(({ finished }) => finished));
};

/** Where the digit of the first cell ends, from the cell's left edge. */
const DIGIT_END = `(() => {
  const cell = document.querySelector('.line.layer .bits');
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getBoundingClientRect().right - cell.getBoundingClientRect().left;
})()`;

/** How many pixels of a picture of `part` have the colour, and how far left they reach. */
async function pixelsOf(
  part: Locator,
  colour: string,
): Promise<{ readonly count: number; readonly left: number }> {
  const { data, info } = await sharp(await part.screenshot()).removeAlpha().raw().toBuffer({ resolveWithObject: true }); // prettier-ignore
  const wanted = Number.parseInt(colour.slice(1), 16);
  let [count, left] = [0, Infinity];
  for (let i = 0; i < info.width * info.height; i++) {
    if (data.readUIntBE(3 * i, 3) !== wanted) continue;
    count++;
    left = Math.min(left, i % info.width);
  }
  return { count, left };
}
