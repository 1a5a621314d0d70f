/** The evaluation page: a form, the run's progress, and what came out. */
import { announcer } from '../common/announce.js';
import { button, progressBar } from '../common/controls.js';
import { element } from '../common/dom.js';
import { openChannel, type Ask } from '../common/messaging.js';
import { formView, type Form } from './form.js';
import { formatProgress, formatWidth } from '../../engine/plans/numbers.js';
import { fill } from '../common/text.js';
import { formatMetric } from './metrics.js';
import type { FromPage, Progress, Results, Run, Setup, Show, View } from './protocol.js';
import { nameOf } from './names.js';
import { durationOf, resultsView } from './results.js';
import {
  choicesOf,
  currentMetric,
  draftOf,
  isActive,
  receive,
  settledRows,
  shownRows,
  type State,
} from './state.js';
import { nextSorting, toCsv, toJson } from './table.js';

let state: State | undefined;
let form: Form | undefined;

const title = element('h1');
const details = element('p', { class: 'muted' });
const notice = element('p', { class: 'notice', role: 'alert', hidden: true });
const setup = element('details', { class: 'card' });
const run = element('section', { class: 'card run', hidden: true });
const spoken = announcer();
const results = resultsView({
  chooseMetric: (metric) => update((now) => ({ ...now, metric })),
  chooseReference: (reference) => update((now) => ({ ...now, reference })),
  sort: (column, numeric) =>
    update((now) => ({ ...now, sorting: nextSorting(now.sorting, column, numeric) })),
  export: (format) => void exportTable(format),
  exportModel: (row) =>
    void ask({ type: 'exportModel', ...(row && { row: { label: row.label, bits: row.bits } }) }),
});
document.body.append(
  element('main', {}, element('header', {}, title, details), notice, setup, run, results.root, spoken.root),
);

const channel = openChannel<Show | Progress, FromPage, Results>((message) => {
  const before = state?.view;
  state = receive(state, message);
  if (!state) return;
  if (message.type === 'show') {
    channel.keep(message.token);
    showSetup(state, before);
  }
  render();
  announce(state, before);
});

function update(change: (now: State) => State): void {
  if (!state) return;
  state = change(state);
  render();
}

function render(): void {
  if (!state) return;
  const { view, strings } = state;
  title.textContent = fill(strings.title, view.model.name);
  details.textContent = view.model.details;
  showRun(view.run);
  results.show(state);
}

/** The form opens where there is nothing to look at yet, and folds up when a run begins. */
function showSetup({ view, strings, form: shown }: State, before: View | undefined): void {
  setup.hidden = view.setup === undefined || isActive(view);
  say(view.setup === undefined ? view.reason : undefined);
  if (!shown) return;
  form = formView(shown, strings, view.locale, {
    change: (next) => {
      showForm(next);
      channel.tell({ type: 'remember', ...draftOf(next) });
    },
    chooseData: (use) =>
      void ask({ type: 'chooseData', use }, (data) => {
        if (!data || !state?.form) return;
        showForm({ ...state.form, ...(use === 'evaluation' ? { data } : { baselineData: data }) });
      }),
    start: () => {
      if (state?.form) void ask({ type: 'start', ...choicesOf(state.form) });
    },
  });
  setup.replaceChildren(element('summary', {}, strings.newEvaluation), form.root);
  showForm(shown);
  if (before === undefined || isActive(view) !== isActive(before))
    setup.open = shownRows(view).length === 0 && !isActive(view);
}

function showForm(next: Setup): void {
  if (!state) return;
  state = { ...state, form: next };
  form?.show(next, state.view.result !== undefined);
}

const bar = progressBar('');

function showRun(now: Run | undefined): void {
  run.hidden = now === undefined;
  if (!now || !state) return;
  const { strings } = state;
  bar.root.firstElementChild?.setAttribute('aria-label', strings.progress);
  const active = isActive(state.view);
  const text = runText(now, state);
  if (active) bar.show(now.state === 'queued' ? undefined : now.progress, text);
  // The button stays the same element while a run goes on: it may have the focus.
  const kind = active ? 'active' : now.state;
  if (run.dataset.kind === kind && active) return;
  run.dataset.kind = kind;
  run.replaceChildren(
    active ? bar.root : element('p', { class: 'text' }, text),
    active
      ? button({ label: strings.cancel, onPress: () => void ask({ type: 'cancel' }) })
      : button({ label: strings.again, onPress: () => void ask({ type: 'again' }) }),
  );
}

function runText(now: Run, { strings, view }: State): string {
  const percent = formatProgress(now.progress, view.locale);
  switch (now.state) {
    case 'queued':
      return now.waits ? strings.queued : strings.starting;
    case 'running':
      return now.secondsLeft === undefined
        ? fill(strings.running, percent)
        : fill(strings.runningLeft, percent, durationOf(now.secondsLeft, strings, view.locale));
    case 'cancelled':
      return strings.cancelled;
    case 'interrupted':
      return fill(strings.interrupted, now.error ?? '');
    case 'failed':
      return fill(strings.failed, now.error ?? '');
  }
}

/** Says what a person who does not see the page would miss: scores as they settle, and how the run ended. */
function announce(now: State, before: View | undefined): void {
  if (!before) return;
  const { view, strings } = now;
  const metric = currentMetric(now);
  if (view.run && metric)
    for (const row of settledRows(before.run?.rows ?? [], view.run.rows)) {
      const value = row[metric.key];
      if (value === undefined) continue;
      const bits = row.bits === 'fp' ? '' : fill(strings.bits, formatWidth(row.bits, view.locale));
      spoken.say(fill(strings.rowDone, nameOf(row, now), bits, formatMetric(metric, value, view.locale)));
    }
  if (view.run && view.run.state !== before.run?.state) spoken.say(runText(view.run, now));
  if (before.run && !view.run && view.result) spoken.say(strings.finished);
}

async function exportTable(format: 'csv' | 'json'): Promise<void> {
  const result = state?.view.result;
  if (!state || !result) return;
  const text = format === 'csv' ? toCsv(result.rows, result.task) : toJson(result, state.view.model.name);
  const { exported } = state.strings;
  await ask({ type: 'export', format, text }, (written) => {
    if (written) spoken.say(exported);
  });
}

/** Sends a request; what goes wrong is said on the page. */
async function ask<R extends Ask<FromPage> & { readonly type: keyof Results }>(
  request: R,
  done?: (result: Results[R['type']]) => void,
): Promise<void> {
  try {
    const result = await channel.ask(request);
    say(undefined);
    done?.(result);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
  }
}

function say(line: string | undefined): void {
  notice.hidden = line === undefined;
  notice.textContent = line ?? '';
}
