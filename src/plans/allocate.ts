/** *Allocate to Budget*: the best plan within a size or a mean of bits, predicted or measured. */
import { vscode } from '../common/vscode.js';
import { decodeBits } from '../../engine/plans/bits.js';
import { budgetOfSize, sizeWithin } from '../../engine/plans/budget.js';
import { formatBytesUp } from '../../engine/plans/numbers.js';
import type {
  AllocateParams,
  Budget,
  LayerConstraint,
  MeasurePlanResult,
  PrecisionTable,
} from '../../engine/protocol/protocol.js';
import { alone, BACK } from '../common/ask.js';
import { pickOne } from '../common/inputs.js';
import { askLine, inform } from '../common/messages.js';
import { readSettings } from '../configuration.js';
import type { Context } from '../context.js';
import { chooseSensitivityData } from '../data/remembered.js';
import { modelName } from '../models/names.js';
import { parseBudget, roundedUp, usualBudget, usualSize } from './budget.js';
import { activePlan, computeSensitivity, openPlan, planOf } from './commands.js';
import { editsOfBits } from './document.js';
import { measuredText } from './measured-text.js';

const NOT_MEASURED = Symbol('not measured');

/** Asks for a budget and gives the plan the best bits within it. */
export async function allocate(context: Context, uri?: vscode.Uri): Promise<void> {
  const plan = await planOf(uri);
  if (!plan) return;
  const document = await vscode.workspace.openTextDocument(plan);
  const { paths, table, state } = await context.plans.read(document);
  if (!table?.sensitivity || paths.model === undefined) {
    const compute = vscode.l10n.t('Compute Sensitivity…');
    const message = vscode.l10n.t(
      'A budget needs the sensitivity of the layers, which has not been measured yet.',
    );
    if (await inform(message, compute)) await computeSensitivity(context, plan);
    return;
  }
  const title = vscode.l10n.t('Allocate to Budget');
  const kind = await pickOne<Budget>(alone(title), {
    placeholder: vscode.l10n.t('What the budget limits'),
    items: [
      { label: vscode.l10n.t('Average bits per weight'), value: 'average-bits' },
      { label: vscode.l10n.t('Size of the model'), value: 'bytes' },
    ],
  });
  if (kind === undefined || kind === BACK) return;
  const params = {
    model: paths.model,
    constraints: pinnedIn(context, plan, table, state.bits),
    ...(paths.adapters !== undefined && { adapters: paths.adapters }),
  };
  const { points } = await context.engine.request('precision/allocate', { ...params, budget: kind });
  const least = budgetOfSize(kind, table, points[0]?.size ?? 0);
  const most = budgetOfSize(kind, table, points.at(-1)?.size ?? 0);
  const problem = (text: string): string | undefined => {
    const value = parseBudget(kind, text);
    if (value === undefined)
      return kind === 'bytes'
        ? vscode.l10n.t('Enter a size such as 1.2 GB or 700 kB.')
        : vscode.l10n.t('Enter a number of bits such as 3.5.');
    if (value >= least - 1e-9) return undefined;
    const smallest =
      kind === 'bytes' ? formatBytesUp(least, vscode.env.language) : roundedUp(least).toFixed(2);
    return vscode.l10n.t('Too small: the smallest possible is {0}.', smallest);
  };
  const text = await askLine({
    title,
    prompt:
      kind === 'bytes' ? vscode.l10n.t('Largest size of the model') : vscode.l10n.t('Most bits on average'),
    value:
      kind === 'bytes'
        ? formatBytesUp(usualSize(least, most, table.fullBytes), 'en')
        : String(usualBudget(least, table.bits)),
    problem,
  });
  const value = text === undefined ? undefined : parseBudget(kind, text);
  if (value === undefined) return;
  const within = sizeWithin(kind, table, value);
  const asked = { ...params, budget: kind, within };
  const data = await measuringData(context, params.model);
  if (data === undefined) return;
  const found = await (data === NOT_MEASURED ? predicted(context, asked) : measured(context, asked, data));
  if (!found) return;
  await context.plans.edit(document, (now) => editsOfBits(now, table, decodeBits(found.bits, found.offered)));
  if (activePlan()?.toString() !== plan.toString()) await openPlan(context, plan);
}

/** Pinned layers keep the bits that they have. */
function pinnedIn(
  { pins }: Context,
  plan: vscode.Uri,
  { layers }: PrecisionTable,
  bits: readonly number[],
): LayerConstraint[] {
  const pinned = new Set(pins.of(plan.toString()));
  return layers.flatMap(({ name }, i) => (pinned.has(name) ? [{ layer: name, fixed: bits[i]! }] : []));
}

type Bits = Pick<MeasurePlanResult, 'bits' | 'offered'>;
type Within = AllocateParams & { readonly within: number };

/** The best plan by the layers' sensitivities. */
async function predicted(context: Context, params: Within): Promise<Bits | undefined> {
  // Of a large model the first answer holds but some of the plans.
  const { points, offered } = await context.engine.request('precision/allocate', params);
  const best = points.findLast(({ size }) => size <= params.within);
  return best && { bits: best.bits, offered };
}

/** What plans are measured on, where the person wants that; undefined where they leave the question. */
async function measuringData(
  context: Context,
  path: string,
): Promise<string | typeof NOT_MEASURED | undefined> {
  const model = (await context.models.all()).find((one) => one.path === path);
  if (!model?.supported) return NOT_MEASURED;
  const how = await pickOne<boolean>(alone(vscode.l10n.t('Allocate to Budget')), {
    placeholder: vscode.l10n.t('How the plan is chosen'),
    items: [
      {
        label: vscode.l10n.t('By predicted cost'),
        detail: vscode.l10n.t('At once: the plan whose layers cost least, each taken alone'),
        value: false,
      },
      {
        label: vscode.l10n.t('By measuring'),
        detail: vscode.l10n.t(
          'Runs up to four plans, one with the same bits for all layers, and takes the best',
        ),
        value: true,
      },
    ],
  });
  if (how === undefined || how === BACK) return undefined;
  return how ? chooseSensitivityData(context.extension, model, modelName(model)) : NOT_MEASURED;
}

/** The plan that measures best; undefined where the person stops it. */
async function measured(context: Context, params: Within, data: string): Promise<Bits | undefined> {
  const { device, threads } = readSettings();
  const request = {
    ...params,
    adapters: params.adapters!,
    data,
    device,
    ...(threads > 0 && { threads }),
  };
  const stop = new AbortController();
  try {
    const found = await vscode.window.withProgress(
      {
        location: vscode.ProgressLocation.Notification,
        title: vscode.l10n.t('Measuring plans'),
        cancellable: true,
      },
      (_, cancelled) => {
        cancelled.onCancellationRequested(() => stop.abort());
        return context.engine.request('precision/measure', request, stop.signal);
      },
    );
    void inform(measuredText(found, vscode.env.language));
    return found;
  } catch (error) {
    if (stop.signal.aborted) return undefined;
    throw error;
  }
}
