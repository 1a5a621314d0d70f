/** The hub: models that can be downloaded, what they would come to, and getting them. */
import type { Mode } from './calibration.js';
import type { DeviceKind } from './devices.js';
import type { Task } from './models.js';

/** Which hub it is, who asks and where models are kept is in the engine's environment (docs/COMMANDS.md), and in no request. */
export interface HubModelParams {
  /** `org/name`. */
  readonly model: string;
  /** A branch, a tag or a commit; default `main`. */
  readonly revision?: string;
}

/** A model of the hub before it is downloaded. */
export interface HubModel {
  readonly model: string;
  readonly revision: string;
  /** What the revision is now. */
  readonly commit: string;
  /** As the model's card says it, such as `apache-2.0`. */
  readonly licence?: string;
  /** Whether its terms must be accepted on the hub. */
  readonly gated: boolean;
  /** What is downloaded: configuration, tokenizer, preprocessor and weights. */
  readonly files: readonly HubFileReport[];
  /** The cache's folder on this machine. */
  readonly cache: string;
  /** Bytes that are free there, where the drive says it. */
  readonly free?: number;
  /** Bytes of memory that the machine has. */
  readonly memory: number;
  /** What it is; absent where it is not supported. */
  readonly description?: HubDescription;
  /** Why it is not supported, in one sentence. */
  readonly unsupported?: string;
}

export interface HubFileReport {
  readonly name: string;
  readonly bytes: number;
  /** Of them those that are here already. */
  readonly here: number;
}

export interface HubDescription {
  readonly family: string;
  readonly task: Task;
  readonly blocks: number;
  readonly parameters: number;
  readonly warnings: readonly string[];
  /** What each method would take to calibrate it here, at each of its efforts, the usual one first. */
  readonly estimates: readonly HubEstimate[];
}

export interface HubEstimate {
  readonly method: string;
  /** Where the method has a choice of them. */
  readonly effort?: string;
  readonly mode: Mode;
  readonly bits: readonly number[];
  readonly samples: number;
  /** `bytes` is memory at the peak, `disk` what is written at the most. */
  readonly forecast: {
    readonly seconds: number;
    readonly bytes: number;
    readonly disk: number;
    readonly device: DeviceKind;
  };
}

/** A download goes on from what an earlier one has left. */
export interface GetRequest extends HubModelParams {
  /** The commit that the revision was when it was looked at; default what it is when the job runs. */
  readonly commit?: string;
}

export interface GetResult {
  /** The model's folder. */
  readonly out: string;
  readonly commit: string;
  readonly bytes: number;
  /** Of them those that came now. */
  readonly downloaded: number;
  readonly licence?: string;
  readonly seconds: number;
  readonly peakMemory: number;
}
