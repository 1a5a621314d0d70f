/** What a model family is. */
import type { ModelConfig } from './config.js';
import type { Model } from './model.js';

export interface BuildOptions {
  /** Tokens of a sample, for language models: at most what the model knows positions for. Default that, up to 2048. */
  readonly tokens?: number;
}

/** One architecture: how its `config.json` becomes a model. */
export interface Family {
  readonly modelType: string;
  readonly architectures: readonly string[];
  /** Throws UserError on a configuration that it does not support, saying why. */
  build(config: ModelConfig, architecture: string, options: BuildOptions): Model;
}
