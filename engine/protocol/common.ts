/** Shared: what several subjects use. */

export type Empty = Readonly<Record<string, never>>;

export interface PathParams {
  readonly path: string;
}

/** A sample that could not be read. */
export interface Skipped {
  readonly name: string;
  readonly reason: string;
}

/** What a result says of samples that could not be read. */
export interface SkippedSamples {
  /** The first of them. */
  readonly skipped: readonly Skipped[];
  /** How many there are; absent where all are named. */
  readonly skippedCount?: number;
}

/** One thing that is said of something, in English, such as "rank" and "16". */
export interface Fact {
  readonly label: string;
  readonly value: string;
  /** A sentence, where the label does not say it all. */
  readonly help?: string;
}
