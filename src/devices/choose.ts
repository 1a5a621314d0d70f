/** What can run here, as choices. */
import { vscode } from '../common/vscode.js';
import { DEVICE_NAMES } from '../../engine/plans/names.js';
import type { DeviceChoice, DeviceReport } from '../../engine/protocol/protocol.js';
import type { BACK, Place } from '../common/ask.js';
import { pickOne, type Choice } from '../common/inputs.js';

/** Offers the devices at once, and what is known of each as soon as it has been measured. */
export const chooseDevice = (
  place: Place,
  current: DeviceChoice,
  devices: Promise<readonly DeviceReport[]>,
): Promise<DeviceChoice | typeof BACK | undefined> =>
  pickOne<DeviceChoice>(place, {
    placeholder: vscode.l10n.t('Device to run on'),
    items: [
      automatic(vscode.l10n.t('measuring…')),
      ...KINDS.map((kind) => ({ label: DEVICE_NAMES[kind], value: kind })),
    ],
    updates: measured(devices),
    active: (value) => value === current,
  });

async function* measured(devices: Promise<readonly DeviceReport[]>) {
  const reports = await devices;
  yield [automatic(fastest(reports)), ...reports.map(choiceOf)];
}

const KINDS = ['cpu', 'webgpu', 'cuda'] as const;

export const deviceName = (device: DeviceChoice): string =>
  device === 'auto' ? vscode.l10n.t('Automatic') : DEVICE_NAMES[device];

const automatic = (description: string): Choice<DeviceChoice> => ({
  label: deviceName('auto'),
  description,
  detail: vscode.l10n.t('The fastest by measurement'),
  value: 'auto',
});

function fastest(reports: readonly DeviceReport[]): string {
  const [first] = reports.filter((report) => report.available).sort((a, b) => b.gflops - a.gflops);
  return first ? DEVICE_NAMES[first.kind] : '';
}

/** A device that is not available says why, and cannot be chosen. */
const choiceOf = (report: DeviceReport): Choice<DeviceChoice> =>
  report.available
    ? {
        label: DEVICE_NAMES[report.kind],
        description: vscode.l10n.t('{0} GFLOP/s', Math.round(report.gflops)),
        detail: report.name,
        value: report.kind,
      }
    : {
        label: `$(circle-slash) ${DEVICE_NAMES[report.kind]}`,
        description: vscode.l10n.t('not available'),
        detail: report.reason,
      };
