/** The rows of the Adapter Sets view, one function per kind of node. */
import { vscode } from '../common/vscode.js';
import type {
  AdapterSetReport,
  EvaluationReport,
  ReadableAdapterSet,
  SetPart,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import { formatBits, formatBytes } from '../common/format.js';
import type { Row } from '../common/tree.js';
import { headline } from '../evaluation/score.js';
import { modelName } from '../models/names.js';
import { offeredBits, type AdapterSetEntry, type ModelAdapters } from './adapter-list.js';

export interface OwnerNode {
  readonly kind: 'owner';
  readonly owner: ModelAdapters;
}
export interface SetNode {
  readonly kind: 'set';
  readonly owner: ModelAdapters;
  readonly entry: AdapterSetEntry;
}
export interface PartNode {
  readonly kind: 'part';
  readonly parent: SetNode;
  readonly part: SetPart;
}
export interface CalibrationNode {
  readonly kind: 'calibration';
  readonly parent: SetNode;
  readonly set: ReadableAdapterSet;
}
export interface EvaluationNode {
  readonly kind: 'evaluation';
  readonly parent: SetNode | OwnerNode;
  readonly report: EvaluationReport;
}
export type AdaptersNode = OwnerNode | SetNode | PartNode | CalibrationNode | EvaluationNode;

const locale = () => vscode.env.language;
const day = (time: number) => new Date(time).toLocaleDateString(locale(), { dateStyle: 'medium' });
const moment = (time: number) =>
  new Date(time).toLocaleString(locale(), { dateStyle: 'medium', timeStyle: 'short' });

export const ownerRow = ({ owner: { model } }: OwnerNode): Row =>
  model
    ? {
        id: model.path,
        label: modelName(model),
        description: model.family,
        kind: vscode.l10n.t('model'),
        icon: 'package',
        tooltip: [model.path],
        context: 'model supported',
        open: 'expanded',
      }
    : {
        id: 'no-model',
        label: vscode.l10n.t('No model found for these'),
        kind: vscode.l10n.t('model'),
        icon: 'question',
        tooltip: [vscode.l10n.t('The model that they were calibrated for was not found.')],
        context: 'no-model',
        open: 'expanded',
      };

export const modeName = (mode: ReadableAdapterSet['facts']['mode']): string =>
  mode === 'weight-only' ? vscode.l10n.t('weights only') : vscode.l10n.t('weights and activations');

/** Whether a set can be used: it can be read, and its model is there as it was. */
export const isCurrent = (set: AdapterSetReport): boolean => set.readable && set.matches;

export const setRow = ({ owner, entry: { set } }: SetNode): Row =>
  set.readable ? readableRow(set, owner.model) : unreadableRow(set.path, set.name, set.reason);

function readableRow(set: ReadableAdapterSet, model: SupportedModel | undefined): Row {
  const { facts, path, name, modified, matches } = set;
  const changed = model !== undefined && !matches ? vscode.l10n.t('model has changed') : '';
  const widths = vscode.l10n.t('{0} bits', formatBits(offeredBits(set), locale()));
  return {
    id: path,
    label: name,
    description: [changed, widths, modeName(facts.mode), facts.method.title, day(modified)]
      .filter(Boolean)
      .join(' · '),
    kind: vscode.l10n.t('adapter set'),
    icon: changed ? 'warning' : 'settings',
    ...(changed && { color: 'list.warningForeground' }),
    tooltip: [
      path,
      ...(changed
        ? [vscode.l10n.t('The model has changed since it was calibrated. Calibrate it again.')]
        : []),
      vscode.l10n.t('Quantizes {0} at {1}, by {2}', modeName(facts.mode), widths, facts.method.title),
      ...(facts.calibration
        ? [
            vscode.l10n.t(
              'Calibrated on {0} samples of {1}',
              facts.calibration.samples,
              facts.calibration.name,
            ),
          ]
        : []),
      vscode.l10n.t(
        '{0} on disk, made {1} by version {2}',
        formatBytes(set.bytes, locale()),
        moment(modified),
        facts.engineVersion,
      ),
    ],
    context: matches ? 'adapterSet readable current' : 'adapterSet readable',
    open: 'collapsed',
  };
}

const unreadableRow = (path: string, name: string, reason: string): Row => ({
  id: path,
  label: name,
  description: vscode.l10n.t('cannot be read'),
  kind: vscode.l10n.t('adapter set'),
  icon: 'warning',
  color: 'list.warningForeground',
  tooltip: [path, reason],
  context: 'adapterSet',
});

/** What the method says of some of the set's bit-widths, in its own words. */
export function partRow({ parent, part: { bits, facts } }: PartNode): Row {
  const label = vscode.l10n.t('{0} bits', formatBits(bits, locale()));
  return {
    id: `${parent.entry.set.path}#${bits.join()}`,
    label,
    description: facts.map(({ label: fact, value }) => `${fact} ${value}`.trim()).join(' · '),
    kind: vscode.l10n.t('bit-widths'),
    icon: 'symbol-numeric',
    tooltip: [label, ...facts.map(({ label: fact, value, help }) => help ?? `${fact}: ${value}`)],
    context: 'part',
  };
}

export function calibrationRow({ set: { path, facts } }: CalibrationNode): Row {
  const { calibration, seed } = facts;
  if (!calibration)
    return {
      id: `${path}#calibration`,
      label: vscode.l10n.t('No calibration set'),
      kind: vscode.l10n.t('calibration set'),
      icon: 'database',
      tooltip: [vscode.l10n.t('The method needs no samples.')],
      context: 'calibration',
    };
  const { name, samples } = calibration;
  return {
    id: `${path}#calibration`,
    label: name,
    description: vscode.l10n.t('{0} samples', samples),
    kind: vscode.l10n.t('calibration set'),
    icon: 'database',
    tooltip: [name, vscode.l10n.t('The calibration set: {0} samples, seed {1}', samples, seed)],
    context: 'calibration',
  };
}

export function evaluationRow({ report, parent }: EvaluationNode): Row {
  const { path, name, modified } = report;
  // It stands under each set that it compares.
  const id = parent.kind === 'set' ? `${parent.entry.set.path}#${path}` : path;
  if (!report.readable)
    return {
      id,
      label: name,
      description: vscode.l10n.t('cannot be read'),
      kind: vscode.l10n.t('evaluation'),
      icon: 'warning',
      color: 'list.warningForeground',
      tooltip: [path, report.reason],
      context: 'evaluation',
    };
  const { data, rows } = report.evaluation.result;
  return {
    id,
    label: name,
    description: [headline(rows), day(modified)].filter(Boolean).join(' · '),
    kind: vscode.l10n.t('evaluation'),
    icon: 'graph',
    tooltip: [path, vscode.l10n.t('Evaluation set: {0}', data), moment(modified)],
    context: 'evaluation readable',
  };
}
