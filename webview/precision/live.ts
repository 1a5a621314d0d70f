/** The running model: its state, the latest switch, what was measured, and what it answers. */
import { button, checkbox, progressBar } from '../common/controls.js';
import { element } from '../common/dom.js';
import { formatBytes, formatPercent } from '../../engine/plans/numbers.js';
import { fill } from '../common/text.js';
import { decimals } from './grid.js';
import { besideMeasured, formatMeasured } from './measured.js';
import type { Prediction } from '../../engine/protocol/protocol.js';
import type { Act, Live, Measurement, ShowTried, Strings, Tried, TryInput } from './protocol.js';

export interface LiveContent {
  readonly strings: Strings;
  readonly locale: string;
  readonly live: Live;
  readonly possible: boolean;
}

export interface LivePanel {
  readonly root: HTMLElement;
  show(content: LiveContent): void;
}

export function livePanel(act: (action: Act['action']) => void): LivePanel {
  const heading = element('h2');
  const state = element('p', { class: 'state' });
  const buttons = element('div', { class: 'buttons' });
  const bar = progressBar('');
  const dataName = element('span');
  const choose = element('button', { class: 'link', type: 'button' });
  const data = element('p', { class: 'data muted' }, dataName, ' ', choose);
  const error = element('p', { class: 'notice', role: 'alert', hidden: true });
  const warnings = element('ul', { class: 'notice warning', role: 'status', hidden: true });
  const history = element('table', { class: 'history' });
  const root = element(
    'section',
    { class: 'panel' },
    heading,
    state,
    buttons,
    bar.root,
    data,
    warnings,
    error,
    history,
  );
  let shape = '';
  choose.addEventListener('click', () => act('data'));

  return {
    root,
    show({ strings, locale, live, possible }) {
      heading.textContent = strings.running;
      state.className = `state ${live.state}`;
      state.textContent = possible ? stateText(strings, locale, live) : strings.withoutSet;
      // Controls are made anew only when they change, so that none loses the focus.
      const next = JSON.stringify([possible, live.keep, live.measuring !== undefined]);
      if (next !== shape) {
        shape = next;
        const measuring = live.measuring !== undefined;
        const focused = [...buttons.children].findIndex((control) => control === document.activeElement);
        buttons.replaceChildren(
          measuring
            ? button({ label: strings.cancel, onPress: () => act('cancel') })
            : button({
                label: strings.measureNow,
                primary: true,
                disabled: !possible,
                onPress: () => act('measure'),
              }),
          checkbox({
            label: strings.keepMeasuring,
            checked: live.keep,
            disabled: !possible,
            onChange: (on) => act(on ? 'keep' : 'unkeep'),
          }),
        );
        if (focused >= 0) (buttons.children[focused] as HTMLElement).focus();
      }
      dataName.textContent = `${strings.evaluationSet}: ${live.data ?? strings.noData}`;
      choose.textContent = strings.chooseData;
      data.hidden = !possible;
      bar.root.hidden = live.measuring === undefined;
      if (live.measuring) {
        const { done, total } = live.measuring;
        const share = total > 0 ? done / total : undefined;
        bar.show(share, total > 0 ? fill(strings.measuring, done, total) : strings.measuringStarts);
      }
      say(error, live.error);
      warn(warnings, live.warnings ?? []);
      history.hidden = live.measured.length === 0;
      history.replaceChildren(
        element('caption', {}, strings.history),
        element('tbody', {}, ...[...live.measured].reverse().map((one) => historyRow(one, strings, locale))),
      );
    },
  };
}

/** What an alert says already it does not say again: it would be read again. */
function say(alert: HTMLElement, text: string | undefined): void {
  alert.hidden = text === undefined;
  if (alert.textContent !== (text ?? '')) alert.textContent = text ?? '';
}

/** They are read once: the lines stay the elements that they are. */
function warn(list: HTMLElement, lines: readonly string[]): void {
  list.hidden = lines.length === 0;
  if ([...list.children].map((line) => line.textContent).join('\n') === lines.join('\n')) return;
  list.replaceChildren(...lines.map((line) => element('li', {}, line)));
}

function stateText(
  strings: Strings,
  locale: string,
  { state, reason, switched, switching = false }: Live,
): string {
  if (state === 'opening') return strings.sessionOpening;
  if (switching) return strings.switching;
  if (state === 'closed') return reason ?? strings.sessionClosed;
  if (!switched) return strings.sessionOpen;
  const time = decimals(switched.seconds * 1000, switched.seconds < 0.01 ? 1 : 0, locale);
  return switched.layers === 1
    ? fill(strings.switchedOne, time)
    : fill(strings.switched, switched.layers, time);
}

const historyRow = (measured: Measurement, strings: Strings, locale: string): HTMLElement => {
  const { bits } = measured;
  const average = bits.reduce((a, b) => a + b, 0) / Math.max(1, bits.length);
  return element(
    'tr',
    {},
    element('td', {}, fill(strings.blockAverage, decimals(average, 2, locale))),
    element('td', { class: 'score' }, formatMeasured(measured, locale)),
    element('td', { class: 'muted', title: strings.measuredHint }, besideMeasured(measured, strings, locale)),
  );
};

export interface TryContent {
  readonly strings: Strings;
  readonly locale: string;
  readonly task: string;
  readonly tried: Omit<ShowTried, 'type'> | undefined;
  readonly possible: boolean;
}

export interface TryPanel {
  readonly root: HTMLElement;
  show(content: TryContent): void;
}

/** One picture or prompt, answered at the plan's bits and in full precision, again after every edit. */
export function tryPanel(ask: (input: TryInput) => void, fail: (error: unknown) => void): TryPanel {
  const heading = element('h2');
  const canvas = element('canvas', {
    width: 96,
    height: 96,
    class: 'thumb',
    hidden: true,
    'aria-hidden': 'true',
  });
  const file = element('input', { type: 'file', accept: 'image/*', id: 'picture', class: 'spoken' });
  const choose = element('label', { for: 'picture', class: 'drop' });
  const picture = element('div', { class: 'picture' }, canvas, choose, file);
  const text = element('textarea', { rows: 3, spellcheck: 'false' });
  const run = element('div');
  const prompt = element('div', { class: 'prompt' }, text, run);
  const error = element('p', { class: 'notice', role: 'alert', hidden: true });
  const answers = element('div', { class: 'answers', 'aria-live': 'polite' });
  const root = element('section', { class: 'panel try' }, heading, picture, prompt, error, answers);
  let shape = '';
  let shown: TryContent['tried'];

  async function read(chosen: File | undefined): Promise<void> {
    if (!chosen || picture.hidden) return;
    try {
      const bitmap = await createImageBitmap(chosen);
      const scale = Math.min(96 / bitmap.width, 96 / bitmap.height);
      [canvas.width, canvas.height] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
      canvas.getContext('2d')!.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      canvas.hidden = false;
      ask({ picture: base64(new Uint8Array(await chosen.arrayBuffer())) });
    } catch (failure) {
      fail(failure);
    }
  }

  file.addEventListener('change', () => void read(file.files?.[0]));
  for (const type of ['dragenter', 'dragover'])
    root.addEventListener(type, (event) => {
      event.preventDefault();
      root.classList.add('over');
    });
  root.addEventListener('dragleave', () => root.classList.remove('over'));
  root.addEventListener('drop', (event) => {
    event.preventDefault();
    root.classList.remove('over');
    void read(event.dataTransfer?.files[0]);
  });

  return {
    root,
    show({ strings, locale, task, tried, possible }) {
      heading.textContent = strings.tryIt;
      root.hidden = !possible;
      picture.hidden = task !== 'image-classification';
      prompt.hidden = task !== 'text-generation';
      const next = JSON.stringify([strings.tryRun, task]);
      if (next !== shape) {
        shape = next;
        choose.textContent = strings.tryPicture;
        choose.title = strings.tryPictureHint;
        text.placeholder = strings.tryTextHint;
        text.setAttribute('aria-label', strings.tryText);
        run.replaceChildren(
          button({ label: strings.tryRun, onPress: () => text.value.trim() && ask({ text: text.value }) }),
        );
      }
      if (tried === shown) return;
      shown = tried;
      say(error, tried?.error && fill(strings.tryFailed, tried.error));
      // They are read whenever they are replaced, but not token by token.
      answers.setAttribute('aria-busy', String(tried?.partial !== undefined));
      answers.replaceChildren(
        ...(tried?.result
          ? answersOf(tried.result, strings, locale)
          : tried?.partial
            ? partialsOf(tried.partial, strings)
            : []),
      );
    },
  };
}

function partialsOf(
  { plan = '', full = '' }: NonNullable<ShowTried['partial']>,
  strings: Strings,
): HTMLElement[] {
  const column = (title: string, text: string) =>
    element('div', { class: 'answer' }, element('h3', {}, title), element('p', { class: 'text' }, text));
  return [column(strings.tryPlan, plan), column(strings.tryFull, full)];
}

function answersOf({ plan, full, memory }: Tried, strings: Strings, locale: string): HTMLElement[] {
  const agree = first(plan) === first(full);
  const column = (title: string, prediction: Prediction) =>
    element('div', { class: 'answer' }, element('h3', {}, title), ...lines(prediction, strings, locale));
  return [
    element(
      'p',
      { class: agree ? 'verdict agree' : 'verdict differ' },
      agree ? strings.tryAgree : strings.tryDiffer,
    ),
    column(strings.tryPlan, plan),
    column(strings.tryFull, full),
    element('p', { class: 'muted whole' }, fill(strings.tryMemory, formatBytes(memory, locale))),
  ];
}

const first = (prediction: Prediction): string | undefined =>
  'classes' in prediction ? prediction.classes[0]?.label : prediction.text;

function lines(prediction: Prediction, strings: Strings, locale: string): HTMLElement[] {
  const likely =
    'classes' in prediction
      ? prediction.classes
      : prediction.next.map(({ token, probability }) => ({ label: token, probability }));
  const list = element(
    'ol',
    {},
    ...likely.slice(0, 5).map(({ label, probability }) => {
      const bar = element('span', { class: 'bar' });
      bar.style.width = `${100 * probability}%`;
      return element(
        'li',
        {},
        bar,
        element('span', { class: 'label' }, label),
        element('span', { class: 'number' }, formatPercent(probability, locale, 1)),
      );
    }),
  );
  if ('classes' in prediction) return [list];
  return [
    element('p', { class: 'text' }, prediction.text),
    element('p', { class: 'muted' }, speedOf(prediction, strings, locale)),
    element('p', { class: 'muted' }, strings.tryNext),
    list,
  ];
}

function speedOf(
  { tokens, seconds }: { readonly tokens: number; readonly seconds: number },
  strings: Strings,
  locale: string,
): string {
  const rate = tokens / Math.max(seconds, 1e-3);
  return fill(strings.trySpeed, tokens, decimals(rate, rate < 10 ? 1 : 0, locale));
}

function base64(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000)
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
