/** Names of devices; names of files and folders that every system takes, and that no tool of this program overlooks. */
import type { DeviceKind } from '../protocol/protocol.js';

export const DEVICE_NAMES: Readonly<Record<DeviceKind, string>> = {
  cpu: 'CPU',
  webgpu: 'WebGPU',
  cuda: 'CUDA',
};

export type NameProblem = 'empty' | 'spaces' | 'long' | 'characters' | 'dots' | 'reserved' | 'partial';

/** Leaves room for a suffix within the 255 bytes of most file systems. */
const MAX_BYTES = 200;
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const FORBIDDEN = /[\\/:*?"<>|\u0000-\u001f\u007f]/;
/** Devices of Windows, with any extension. */
const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** What keeps `name` from being one; undefined where nothing does. */
export function nameProblem(name: string): NameProblem | undefined {
  if (name.trim() === '') return 'empty';
  if (name !== name.trim()) return 'spaces';
  if (new TextEncoder().encode(name).length > MAX_BYTES) return 'long';
  if (FORBIDDEN.test(name)) return 'characters';
  if (name.startsWith('.') || name.endsWith('.')) return 'dots';
  if (RESERVED.test(name)) return 'reserved';
  return /\.partial$/i.test(name) ? 'partial' : undefined;
}
