/** Tables of models, asked once of the engine and kept until something of theirs changes. Knows no editor. */
import type { PrecisionTable } from '../../engine/protocol/protocol.js';
import type { Connection } from '../common/connection.js';
import { createEmitter, type Disposable, type Event } from '../common/event.js';

export interface Tables extends Disposable {
  /** Any table may have changed. */
  readonly onDidChange: Event<void>;
  /** Undefined where nothing may be asked for yet. */
  get(model: string, adapters: string | undefined): Promise<PrecisionTable> | undefined;
}

/**
 * @param stale fires when files of a model or a set may have changed, or when the folder is trusted
 * @param trusted whether the plans are of a folder that is: another's may name any path, and no engine is started for it
 */
export function createTables(
  connection: Connection,
  stale: readonly Event<unknown>[],
  trusted: () => boolean,
): Tables {
  const changed = createEmitter<void>();
  const tables = new Map<string, Promise<PrecisionTable>>();
  const subscriptions = stale.map((event) =>
    event(() => {
      tables.clear();
      changed.fire();
    }),
  );
  return {
    onDidChange: changed.event,
    get: (model, adapters) => {
      if (!trusted()) return undefined;
      const key = JSON.stringify([model, adapters]);
      const known = tables.get(key);
      if (known) return known;
      const params = adapters === undefined ? { model } : { model, adapters };
      const asked = connection.request('precision/describe', params);
      tables.set(key, asked);
      asked.catch(() => {
        if (tables.get(key) === asked) tables.delete(key);
      });
      return asked;
    },
    dispose: () => subscriptions.forEach((subscription) => subscription.dispose()),
  };
}
