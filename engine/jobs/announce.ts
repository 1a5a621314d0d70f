/** What work will take, told before it begins, where somebody asks. */
import type { Placement } from '../protocol/protocol.js';
import { knownDevice } from '../runtime/known-rates.js';
import { forecastOf, type Amounts } from './forecasts/forecast.js';
import type { JobHooks, WorkKind } from './requests.js';

/** Resolves to the request, on the device that `auto` comes to, once the work may begin. Rejects where it may not. */
export async function announced<R extends Placement>(
  request: R,
  { announce, signal }: Pick<JobHooks<WorkKind>, 'announce' | 'signal'>,
  amounts: () => Amounts,
): Promise<R> {
  if (!announce) return request;
  const device = await knownDevice(request, signal);
  await announce(forecastOf(amounts(), device));
  return { ...request, device: device.kind };
}
