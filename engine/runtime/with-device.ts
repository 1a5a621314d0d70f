/** The device a job runs on. */
import { chooseDevice } from '../runtime/devices.js';
import { openPrograms, type Programs } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import type { Placement } from '../protocol/protocol.js';

/**
 * Opens the device that was asked for and closes it when `use` is done. Once `signal` is aborted, nothing more runs there: no
 * more than what was running then is waited for, and `use` meets a CancelledError.
 */
export async function withDevice<T>(
  { device = 'auto', threads, signal }: Placement & { readonly signal?: AbortSignal },
  use: (programs: Programs) => Promise<T>,
): Promise<T> {
  const runtime = openRuntime(await chooseDevice(device, signal), threads, signal);
  const programs = openPrograms(runtime);
  try {
    return await use(programs);
  } finally {
    await programs.release();
    await runtime.dispose();
  }
}
