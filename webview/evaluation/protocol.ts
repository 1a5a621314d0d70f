/** Everything that travels between the evaluation page and its host. Types alone, so that either side can import it. */
import type { DeviceKind, EvaluationRow, EvaluationTask } from '../../engine/protocol/protocol.js';
import type { Answer, Ready } from '../common/protocol.js';

/** All that the page shows. The host owns it; the page keeps only what is unsaved in the form, the sorting and the metric. */
export interface View {
  readonly locale: string;
  readonly model: { readonly name: string; readonly task: EvaluationTask; readonly details: string };
  /** Titles of methods by their names; none where the engine did not say. */
  readonly methods?: Readonly<Record<string, string>>;
  /** Left out where a run cannot be started: the model is gone, or the workspace not trusted; `reason` says which. */
  readonly setup?: Setup;
  readonly reason?: string;
  readonly run?: Run;
  readonly result?: Result;
}

/** What can be chosen, and what is. */
export interface Setup {
  readonly sets: readonly SetChoice[];
  readonly data?: DataChoice;
  /** From high to low; full precision always runs. */
  readonly bits: readonly number[];
  /** Precision plans of the model. */
  readonly plans: readonly PlanChoice[];
  readonly baselines: readonly BaselineChoice[];
  /** What those that need data are calibrated on. */
  readonly baselineData?: DataChoice;
  /** First samples of the evaluation set; all where it is left out. */
  readonly limit?: number;
  /** Whether a window of text can be said to be so long. */
  readonly hasLength: boolean;
  /** Tokens of a window of text; the model's own where it is left out. */
  readonly length?: number;
}

export interface PlanChoice {
  readonly id: string;
  readonly name: string;
  readonly chosen: boolean;
  /** The adapter set that it names: it is run with that set alone. */
  readonly set?: string;
}

/** A method that the sets can be compared with: it is calibrated for that, at the same bit-widths. */
export interface BaselineChoice {
  /** The engine's. */
  readonly name: string;
  readonly title: string;
  readonly hint: string;
  readonly chosen: boolean;
  /** Whether it is calibrated on data of its own, which has to be named. */
  readonly needsData: boolean;
}

export interface SetChoice {
  readonly id: string;
  readonly name: string;
  readonly bits: readonly number[];
  readonly chosen: boolean;
  /** Why it cannot be chosen. */
  readonly problem?: string;
}

/** An evaluation set without its path, which the page does not see. */
export interface DataChoice {
  readonly name: string;
}

export type RunState = 'queued' | 'running' | 'interrupted' | 'failed' | 'cancelled';

/** A run that has no result yet. */
export interface Run {
  readonly state: RunState;
  /** It is queued behind another job. */
  readonly waits?: boolean;
  /** 0 to 1 */
  readonly progress: number;
  readonly secondsLeft?: number;
  /** One line, of a failed or interrupted run. */
  readonly error?: string;
  /** So far. */
  readonly rows: readonly EvaluationRow[];
}

export interface Result {
  /** Of the file that holds it, as the sidebar shows it. */
  readonly name: string;
  readonly task: EvaluationTask;
  readonly data: string;
  /** Milliseconds since 1970. */
  readonly date: number;
  readonly device: DeviceKind;
  readonly seconds: number;
  /** Samples that could not be read. */
  readonly skipped: number;
  readonly rows: readonly EvaluationRow[];
}

// To the page

/** Replaces everything that is shown. */
export interface Show {
  readonly type: 'show';
  readonly view: View;
  readonly strings: Strings;
  /** What the page gives back to the editor, for the time after a reload. */
  readonly token: string;
}

/** The run has come further. */
export interface Progress {
  readonly type: 'progress';
  readonly run: Run;
}

export type ToPage = Show | Progress | Answer;

// From the page

/** Lets the person choose data; answered by nothing when they do not. */
export interface ChooseData {
  readonly type: 'chooseData';
  readonly use: 'evaluation' | 'baselines';
  readonly id: number;
}

/** What the form says. */
export interface Choices {
  /** By their ids. */
  readonly sets: readonly string[];
  readonly bits: readonly number[];
  /** By their ids. */
  readonly plans: readonly string[];
  /** By the names of their methods. */
  readonly baselines: readonly string[];
  readonly limit?: number;
  readonly length?: number;
}

/** Keeps the form for the time after a reload; not answered. */
export interface Remember extends Choices {
  readonly type: 'remember';
}

export interface Start extends Choices {
  readonly type: 'start';
  readonly id: number;
}

export interface Cancel {
  readonly type: 'cancel';
  readonly id: number;
}

/** Runs an interrupted, failed or cancelled run again. */
export interface Again {
  readonly type: 'again';
  readonly id: number;
}

/** Writes the table where the person says; answered by whether they did. */
export interface Export {
  readonly type: 'export';
  readonly id: number;
  readonly format: 'csv' | 'json';
  readonly text: string;
}

/** Has the model of a set's row written for other tools; without one the person chooses it. */
export interface ExportModel {
  readonly type: 'exportModel';
  readonly id: number;
  readonly row?: Pick<EvaluationRow, 'label' | 'bits'>;
}

export type FromPage = Ready | Remember | ChooseData | Start | Cancel | Again | Export | ExportModel;

/** What each request is answered by. */
export interface Results {
  chooseData: DataChoice | undefined;
  start: void;
  cancel: void;
  again: void;
  export: boolean;
  exportModel: void;
}

/** What the page says, in the language of the editor. `{0}` and so on are filled in by the page. */
export type Strings = Readonly<Record<StringKey, string>>;

export type StringKey =
  | 'title'
  | 'adapterSets'
  | 'noSets'
  | 'evaluationSet'
  | 'noData'
  | 'chooseData'
  | 'bitWidths'
  | 'bits'
  | 'compareWith'
  | 'baselineData'
  | 'samples'
  | 'allSamples'
  | 'samplesInvalid'
  | 'length'
  | 'usualLength'
  | 'lengthInvalid'
  | 'plans'
  | 'planOfOtherSet'
  | 'newEvaluation'
  | 'evaluate'
  | 'evaluateAgain'
  | 'cancel'
  | 'again'
  | 'needSets'
  | 'needData'
  | 'needBaselineData'
  | 'needBits'
  | 'queued'
  | 'starting'
  | 'running'
  | 'runningLeft'
  | 'cancelled'
  | 'interrupted'
  | 'failed'
  | 'progress'
  | 'rowDone'
  | 'finished'
  | 'results'
  | 'resultsSoFar'
  | 'summary'
  | 'skipped'
  | 'skippedOne'
  | 'metric'
  | 'top1'
  | 'top5'
  | 'kl'
  | 'perplexity'
  | 'accuracy'
  | 'accuracyNormalised'
  | 'higherIsBetter'
  | 'lowerIsBetter'
  | 'fullPrecision'
  | 'againstBits'
  | 'againstSize'
  | 'chart'
  | 'chartHelp'
  | 'pointLabel'
  | 'pointBits'
  | 'axisBits'
  | 'axisSize'
  | 'logarithmic'
  | 'adviceSmallest'
  | 'adviceBest'
  | 'adviceLoss'
  | 'adviceLossPoint'
  | 'adviceLossPoints'
  | 'adviceDetail'
  | 'adviceDetailAlone'
  | 'adviceNone'
  | 'exportThis'
  | 'table'
  | 'errorNote'
  | 'differenceNote'
  | 'against'
  | 'columnModel'
  | 'columnMethod'
  | 'columnAverage'
  | 'columnBits'
  | 'columnSize'
  | 'exportModel'
  | 'exportCsv'
  | 'exportJson'
  | 'exported'
  | 'seconds'
  | 'minutes';
