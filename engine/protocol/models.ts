/** Models: checkpoints that are found, and what one is made of. */

/** What a model is for, such as `image-classification` or `text-generation`; a client shows one that it does not know by this name. */
export type Task = string;

export interface ListModelsParams {
  readonly folders: readonly string[];
  /** A name of the client's choice that `models/found` repeats. */
  readonly search?: string;
}

/** A checkpoint folder. */
export type ModelReport = SupportedModel | UnsupportedModel;

export interface SupportedModel {
  readonly path: string;
  readonly name: string;
  readonly supported: true;
  readonly family: string;
  readonly task: Task;
  readonly blocks: number;
  readonly layers: number;
  readonly parameters: number;
  /** Of the weights on disk. */
  readonly bytes: number;
  /** What somebody who reads its results should know, a line each: what was read in one of two ways, or not at all. */
  readonly warnings: readonly string[];
}

export interface UnsupportedModel {
  readonly path: string;
  readonly name: string;
  readonly supported: false;
  /** One sentence. */
  readonly reason: string;
}

export interface ModelDescription extends Omit<SupportedModel, 'blocks' | 'layers'> {
  readonly blocks: readonly BlockDescription[];
}

export interface BlockDescription {
  /** The checkpoint's own, such as `vit.encoder.layer.0`. */
  readonly name: string;
  readonly parameters: number;
  /** On disk. */
  readonly bytes: number;
  readonly layers: readonly LayerDescription[];
}

export interface LayerDescription {
  /** The checkpoint's own and full, without `.weight`. */
  readonly name: string;
  /** [out, in] */
  readonly shape: readonly [number, number];
  /** On disk, weight and bias. */
  readonly bytes: number;
}
