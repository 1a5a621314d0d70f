/** The rows of the Models view, one function per kind of node. */
import { vscode } from '../common/vscode.js';
import type {
  BlockDescription,
  LayerDescription,
  ModelReport,
  SupportedModel,
  UnsupportedModel,
} from '../../engine/protocol/protocol.js';
import { formatBytes, formatCount } from '../common/format.js';
import type { Row } from '../common/tree.js';
import { wordsOf } from '../tasks.js';
import { modelName, nameWithin } from './names.js';

export interface ModelNode {
  readonly kind: 'model';
  readonly model: ModelReport;
}
export interface BlockNode {
  readonly kind: 'block';
  readonly model: SupportedModel;
  readonly block: BlockDescription;
}
export interface LayerNode {
  readonly kind: 'layer';
  readonly model: SupportedModel;
  readonly block: BlockDescription;
  readonly layer: LayerDescription;
}
/** Why a model that was listed cannot be looked into now. */
export interface ProblemNode {
  readonly kind: 'problem';
  readonly model: SupportedModel;
  readonly reason: string;
}
export type ModelsNode = ModelNode | BlockNode | LayerNode | ProblemNode;

const locale = () => vscode.env.language;

/** @param folder named before the rest, where another model has the same name */
export const modelRow = ({ model }: ModelNode, folder?: string): Row =>
  model.supported ? supportedRow(model, folder) : unsupportedRow(model, folder);

function supportedRow(model: SupportedModel, folder?: string): Row {
  const { path, family, task, blocks, layers, parameters, bytes, warnings } = model;
  const size = formatBytes(bytes, locale());
  const count = vscode.l10n.t('{0} parameters', formatCount(parameters, locale()));
  return {
    id: path,
    label: modelName(model),
    // What matters most first: a narrow sidebar cuts the rest off.
    description: [folder, size, family, count].filter(Boolean).join(' · '),
    kind: vscode.l10n.t('model'),
    icon: warnings.length > 0 ? 'warning' : 'package',
    tooltip: [
      path,
      wordsOf(task).name,
      vscode.l10n.t('{0} blocks, {1} layers, {2}', blocks, layers, count),
      vscode.l10n.t('{0} on disk', size),
      ...warnings,
    ],
    context: 'model supported',
    open: 'collapsed',
  };
}

function unsupportedRow(model: UnsupportedModel, folder?: string): Row {
  const note = vscode.l10n.t('not supported');
  return {
    id: model.path,
    label: modelName(model),
    description: [folder, note, model.reason].filter(Boolean).join(' · '),
    kind: vscode.l10n.t('model'),
    icon: 'warning',
    color: 'list.warningForeground',
    tooltip: [model.path, model.reason],
    context: 'model unsupported',
  };
}

export function blockRow({ model, block }: BlockNode): Row {
  const layers = vscode.l10n.t('{0} layers', block.layers.length);
  const size = formatBytes(block.bytes, locale());
  return {
    id: `${model.path}#${block.name}`,
    label: block.name,
    description: `${layers} · ${size}`,
    kind: vscode.l10n.t('block'),
    icon: 'layers',
    tooltip: [block.name, vscode.l10n.t('{0} parameters', formatCount(block.parameters, locale())), size],
    context: 'block',
    open: 'collapsed',
  };
}

export function layerRow({ model, block, layer }: LayerNode): Row {
  const [out, inputs] = layer.shape;
  const size = formatBytes(layer.bytes, locale());
  return {
    id: `${model.path}#${block.name}#${layer.name}`,
    label: nameWithin(block.name, layer.name),
    description: `${out} × ${inputs} · ${size}`,
    kind: vscode.l10n.t('layer'),
    icon: 'symbol-array',
    tooltip: [layer.name, vscode.l10n.t('{0} outputs, {1} inputs', out, inputs), size],
    context: 'layer',
  };
}

export const problemRow = ({ model, reason }: ProblemNode): Row => ({
  id: `${model.path}#problem`,
  label: reason,
  kind: vscode.l10n.t('problem'),
  icon: 'warning',
  color: 'list.warningForeground',
  tooltip: [reason],
  context: 'problem',
});
