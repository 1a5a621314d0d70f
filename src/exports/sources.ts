/** What is exported: an adapter set at one bit-width, or by a precision plan. */
import { basename } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { ExportedSet } from '../../engine/protocol/protocol.js';
import { offeredBits } from '../adapters/adapter-list.js';
import type { SetNode } from '../adapters/nodes.js';
import { chooseTarget, targetOf, type Target } from '../adapters/targets.js';
import { alone, BACK } from '../common/ask.js';
import { formatBits } from '../common/format.js';
import { pickOne } from '../common/inputs.js';
import { inform } from '../common/messages.js';
import type { Context } from '../context.js';
import { modelName } from '../models/names.js';
import { activePlan } from '../plans/commands.js';
import { planName } from '../plans/plans.js';
import type { SetAtBits } from './set-at-bits.js';

export interface ExportSource {
  readonly set: ExportedSet;
  /** The model's name. */
  readonly model: string;
  /** Its bits for people, and for names of files. */
  readonly words: string;
  readonly what: string;
}

export type ExportedNode = SetNode | SetAtBits | vscode.Uri;

/** Of a menu, else the plan of the active editor, else a set that is chosen. */
export async function sourceOf(
  context: Context,
  from: ExportedNode | undefined,
): Promise<ExportSource | undefined> {
  const plan = from instanceof vscode.Uri ? from : from === undefined ? activePlan() : undefined;
  if (plan) return planSource(context, plan);
  if (from !== undefined && 'kind' in from && from.kind === 'bits') return atBits(from, basename(from.model));
  const title = vscode.l10n.t('Export Model');
  const target =
    from === undefined
      ? await chooseTarget(context.adapters, { title, placeholder: vscode.l10n.t('Adapter set to export') })
      : targetOf(from as SetNode);
  if (!target) return undefined;
  const bits = await chooseBits(target);
  if (bits === undefined) return undefined;
  const { model, set } = target;
  return atBits({ model: model.path, adapters: set.path, bits }, modelName(model));
}

const atBits = ({ model, adapters, bits }: Omit<SetAtBits, 'kind'>, name: string): ExportSource => ({
  set: { model, adapters, bits },
  model: name,
  words: vscode.l10n.t('{0} bits', formatBits([bits], vscode.env.language)),
  what: `${bits}-bits`,
});

async function chooseBits({ model, set }: Target): Promise<number | undefined> {
  const offered = offeredBits(set);
  if (offered.length === 1) return offered[0];
  const picked = await pickOne<number>(alone(vscode.l10n.t('Export {0}', modelName(model))), {
    placeholder: vscode.l10n.t('Bits of every layer; a precision plan is exported from its own menu'),
    items: offered.map((value) => ({
      value,
      label: vscode.l10n.t('{0} bits', formatBits([value], vscode.env.language)),
    })),
    active: (value) => value === 4,
  });
  return picked === BACK ? undefined : picked;
}

/** The plan as its editor shows it: what is not saved is. */
async function planSource(context: Context, uri: vscode.Uri): Promise<ExportSource | undefined> {
  const document = await vscode.workspace.openTextDocument(uri);
  const { paths } = await context.plans.read(document);
  const { model, adapters } = paths;
  if (model === undefined) {
    await offer(uri, vscode.l10n.t('The plan names no model yet.'), {
      action: vscode.l10n.t('Choose Model…'),
      command: 'elasticPrecision.choosePlanModel',
    });
    return undefined;
  }
  if (adapters === undefined) {
    await offer(uri, vscode.l10n.t('The plan names no adapter set yet.'), {
      action: vscode.l10n.t('Choose Adapter Set…'),
      command: 'elasticPrecision.choosePlanAdapters',
    });
    return undefined;
  }
  // What is exported reads the file.
  if (document.isDirty && !(await document.save())) return undefined;
  const name = planName(uri);
  return { set: { model, adapters, plan: uri.fsPath }, model: basename(model), words: name, what: name };
}

async function offer(
  uri: vscode.Uri,
  message: string,
  { action, command }: { readonly action: string; readonly command: string },
): Promise<void> {
  if (await inform(message, action)) await vscode.commands.executeCommand(command, uri);
}
