/** What an evaluation's page is given, and what is kept of it. */
import type { DeviceChoice, SupportedModel } from '../../engine/protocol/protocol.js';
import type { AdapterList } from '../adapters/adapter-list.js';
import type { Connection } from '../common/connection.js';
import type { ModelList } from '../models/model-list.js';
import type { PlanFile } from '../plans/plan-files.js';
import type { SavedRun } from './run.js';

/** All that a page needs to come back after a reload: plain JSON. Paths are absolute. */
export interface SavedPage {
  readonly model: string;
  /** Folders of the chosen adapter sets. */
  readonly sets: readonly string[];
  readonly data?: string;
  readonly bits?: readonly number[];
  /** Names of the methods to compare with. */
  readonly baselines: readonly string[];
  /** What they are calibrated on, where that was chosen. */
  readonly baselineData?: string;
  readonly limit?: number;
  /** Tokens of a window of text. */
  readonly length?: number;
  /** Files of the chosen precision plans; those of before they could be chosen have none. */
  readonly plans?: readonly string[];
  /** The run, until its result is there. */
  readonly job?: SavedRun;
  /** The file of the result. */
  readonly result?: string;
}

export interface Surroundings {
  readonly connection: Connection;
  readonly models: Pick<ModelList, 'all'>;
  readonly adapters: Pick<AdapterList, 'all' | 'refresh'>;
  readonly plans: () => Promise<readonly PlanFile[]>;
  readonly locale: string;
  readonly trusted: () => boolean;
  /** What the settings say at the time of a run; 0 threads leaves them to the engine. */
  readonly placement: () => { readonly device: DeviceChoice; readonly threads: number };
  readonly now: () => Date;
  /** In the language of the editor. */
  readonly words: {
    readonly details: (model: SupportedModel) => string;
    readonly gone: string;
    readonly untrusted: string;
    readonly changed: string;
  };
}
