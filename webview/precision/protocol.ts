/** Everything that travels between the precision editor's page and its host. Types alone, so that either side can import it. */
import type { PrecisionTable, PredictResult } from '../../engine/protocol/protocol.js';
import type { PricedTable } from '../../engine/plans/totals.js';
import type { Answer, Ready } from '../common/protocol.js';

/** A model's layers, in its order. It is sent when it changes, and not with every edit. */
export interface Table extends PricedTable {
  /** What the model is for; it decides what can be tried. */
  readonly task: PrecisionTable['model']['task'];
  readonly layers: readonly Layer[];
  /** Of the whole model in full precision. */
  readonly fullBytes: number;
  /** What it takes to stay switchable: the original model and the adapter set; absent without a set. */
  readonly switchableBytes?: number;
  readonly sensitivity?: Sensitivity;
}

export interface Layer {
  readonly name: string;
  readonly block: string;
  /** [out, in] */
  readonly shape: readonly [number, number];
  readonly weights: number;
  /** By bit-width. */
  readonly bytes: readonly number[];
}

export interface Sensitivity {
  /** By layer, then bit-width, nats. */
  readonly costs: readonly (readonly number[])[];
  readonly samples: number;
  readonly data: string;
  readonly stale?: string;
}

export interface FrontierPoint {
  /** Bytes of the whole model. */
  readonly bytes: number;
  readonly averageBits: number;
  readonly cost: number;
  /** Of the layers as `encodeBits` writes them, of the table's bit-widths: there are many points. */
  readonly bits: string;
}

/** What keeps the editor from being all that it can be, with the action that helps. */
export type Lack = 'model' | 'adapters' | 'sensitivity' | 'stale' | 'engine' | 'trust';

export interface ShowTable {
  readonly type: 'table';
  readonly locale: string;
  readonly strings: Strings;
  readonly title: string;
  readonly subtitle: string;
  /** Undefined where the model cannot be read. */
  readonly table?: Table;
  readonly lacks: readonly { readonly lack: Lack; readonly text: string; readonly action?: string }[];
  /** Whether a model can be run here: there is an adapter set, and the workspace is trusted. */
  readonly live: boolean;
  /** Names of layers that were pinned in this plan before. */
  readonly pinned: readonly string[];
}

/** The plan as its text is now. */
export interface ShowPlan {
  readonly type: 'plan';
  /** Of each layer, by the last text that was a plan. */
  readonly bits: readonly number[];
  /** Why the text is not a plan now; rows cannot be edited then. */
  readonly broken?: string;
  /** One line each, of a plan that is well formed. */
  readonly problems: readonly string[];
}

export interface ShowComparison {
  readonly type: 'comparison';
  readonly other?: { readonly name: string; readonly bits: readonly number[] };
}

/** The job that measures the layers now, or will. */
export interface ShowMeasuring {
  readonly type: 'measuring';
  readonly job?: {
    /** Undefined while it waits. */
    readonly share?: number;
    /** How it stands, in a few words. */
    readonly text: string;
  };
}

export interface ShowLive {
  readonly type: 'live';
  readonly live: Live;
}

export type MetricKey = 'top1' | 'perplexity' | 'accuracy' | 'kl';

/** The running model. */
export interface Live {
  readonly state: 'closed' | 'opening' | 'open';
  /** Why it is closed, where there is something to say. */
  readonly reason?: string;
  /** What the engine warned of when it was opened, one line each. */
  readonly warnings?: readonly string[];
  /** Whether it is being switched. */
  readonly switching?: boolean;
  /** Of the latest switch. */
  readonly switched?: { readonly layers: number; readonly seconds: number };
  readonly keep: boolean;
  /** Name of the evaluation set. */
  readonly data?: string;
  readonly measuring?: { readonly done: number; readonly total: number };
  /** Newest last, at most eight. */
  readonly measured: readonly Measurement[];
  readonly error?: string;
}

export interface Measurement {
  /** Of each layer. */
  readonly bits: readonly number[];
  readonly metric: MetricKey;
  readonly value: number;
  /** What full precision has on the same samples. */
  readonly full: number;
  /** Standard error of the distance between both, in the unit of `value`; of more than one sample. */
  readonly error?: number;
  /** Divergence from full precision, nats. */
  readonly kl?: number;
  readonly samples: number;
  readonly seconds: number;
}

export interface ShowTried {
  readonly type: 'tried';
  readonly result?: Tried;
  /** Of texts, as far as they are answered. */
  readonly partial?: { readonly plan?: string; readonly full?: string };
  readonly error?: string;
}

export type Tried = PredictResult;

export type TryInput = { readonly picture: string } | { readonly text: string };

export type Shown = ShowTable | ShowPlan | ShowComparison | ShowMeasuring | ShowLive | ShowTried;
export type ToPage = Shown | Answer;

/** Gives layers, by index, other bits. */
export interface Set {
  readonly type: 'set';
  readonly changes: readonly (readonly [layer: number, bits: number])[];
}

/** Gives every layer its bits. */
export interface SetAll {
  readonly type: 'setAll';
  readonly bits: readonly number[];
}

/** The names of all layers that are pinned now. */
export interface Pin {
  readonly type: 'pin';
  readonly layers: readonly string[];
}

export interface AskFrontier {
  readonly type: 'frontier';
  readonly id: number;
  /** Layers that keep the bits they have. */
  readonly pinned: readonly (readonly [layer: number, bits: number])[];
}

export interface Act {
  readonly type: 'act';
  readonly action:
    | Lack
    | 'text'
    | 'compare'
    | 'uncompare'
    | 'measure'
    | 'keep'
    | 'unkeep'
    | 'cancel'
    | 'data'
    | 'problems'
    | 'jobs';
}

/** What is answered from now on; nothing ends it. */
export interface Try {
  readonly type: 'try';
  readonly input?: TryInput;
}

export interface Results {
  readonly frontier: { readonly points: readonly FrontierPoint[] };
}

export type FromPage = Ready | Set | SetAll | Pin | AskFrontier | Act | Try;

export type StringKey =
  | 'averageBits'
  | 'averageHint'
  | 'size'
  | 'ofFull'
  | 'switchable'
  | 'switchableHint'
  | 'predictedCost'
  | 'costHint'
  | 'measured'
  | 'notMeasured'
  | 'filter'
  | 'sort'
  | 'sortModel'
  | 'sortBits'
  | 'sortShare'
  | 'sortCost'
  | 'sortSensitivity'
  | 'layer'
  | 'share'
  | 'bits'
  | 'cost'
  | 'pin'
  | 'unpin'
  | 'grid'
  | 'gridHelp'
  | 'rowLabel'
  | 'rowCost'
  | 'rowPinned'
  | 'rowSuggested'
  | 'rowCompared'
  | 'blockLabel'
  | 'blockLayers'
  | 'blockLayer'
  | 'blockAverage'
  | 'noMatch'
  | 'lessSensitive'
  | 'moreSensitive'
  | 'legendSuggested'
  | 'legendCompared'
  | 'selected'
  | 'setDone'
  | 'setDoneOne'
  | 'readOnly'
  | 'broken'
  | 'openText'
  | 'problems'
  | 'budget'
  | 'budgetValue'
  | 'frontier'
  | 'frontierHelp'
  | 'frontierTable'
  | 'frontierNone'
  | 'current'
  | 'uniform'
  | 'presets'
  | 'presetUniform'
  | 'presetBest'
  | 'presetBestHint'
  | 'compare'
  | 'comparing'
  | 'compareNone'
  | 'compareDifferent'
  | 'stopComparing'
  | 'running'
  | 'measureNow'
  | 'keepMeasuring'
  | 'cancel'
  | 'evaluationSet'
  | 'chooseData'
  | 'noData'
  | 'sessionClosed'
  | 'sessionOpening'
  | 'switching'
  | 'tryMemory'
  | 'trySpeed'
  | 'sessionOpen'
  | 'switched'
  | 'switchedOne'
  | 'measuring'
  | 'measuringStarts'
  | 'top1'
  | 'perplexity'
  | 'accuracy'
  | 'kl'
  | 'measuredFull'
  | 'measuredFullKl'
  | 'measuredHint'
  | 'measuredDetail'
  | 'measuredBefore'
  | 'history'
  | 'tryIt'
  | 'tryPicture'
  | 'tryPictureHint'
  | 'tryText'
  | 'tryTextHint'
  | 'tryRun'
  | 'tryPlan'
  | 'tryFull'
  | 'tryAgree'
  | 'tryDiffer'
  | 'tryNext'
  | 'tryFailed'
  | 'withoutSet'
  | 'measuringLayers'
  | 'showJobs';

export type Strings = Readonly<Record<StringKey, string>>;
