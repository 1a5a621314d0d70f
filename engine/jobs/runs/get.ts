/** The job `get`: downloads what is missing of a model, and says how far it is. */
import { hubClient } from '../../hub/client.js';
import { getModel } from '../../hub/get.js';
import { parseHubId } from '../../hub/id.js';
import { listModel } from '../../hub/listing.js';
import { hubSettings } from '../../hub/settings.js';
import { formatBytes } from '../../plans/numbers.js';
import type { GetRequest, GetResult } from '../../protocol/protocol.js';
import { peakMemory } from '../memory.js';
import type { JobHooks } from '../requests.js';

/** How often it is said. */
const STATUS_MILLISECONDS = 250;

export async function runGet(
  { model, revision, commit }: GetRequest,
  { signal, status }: Pick<JobHooks<'get'>, 'signal' | 'status'>,
): Promise<GetResult> {
  const started = performance.now();
  const client = hubClient(hubSettings(), signal);
  const listing = await listModel(client, parseHubId(model, revision), commit);
  const all = listing.files.reduce((sum, { bytes }) => sum + bytes, 0);
  let said = { at: -Infinity, index: -1 };
  const got = await getModel(client, listing, ({ file, index, bytes }) => {
    const at = performance.now();
    if (index === said.index && at - said.at < STATUS_MILLISECONDS) return;
    said = { at, index };
    const [here, whole] = [bytes, all].map((count) => formatBytes(count, 'en'));
    status({ done: all === 0 ? 1 : bytes / all, phase: `${file}, ${here!} of ${whole!}`, place: index });
  });
  return {
    out: got.folder,
    commit: listing.commit,
    bytes: got.bytes,
    downloaded: got.downloaded,
    ...(listing.licence !== undefined && { licence: listing.licence }),
    seconds: (performance.now() - started) / 1000,
    peakMemory: peakMemory(),
  };
}
