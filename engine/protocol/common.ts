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
