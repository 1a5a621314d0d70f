/** What a model family is. */
import type { ModelConfig } from './config.js';
import type { Model } from './model.js';

export interface BuildOptions {
  /** Tokens of a sample, for language models: at most what the model knows positions for. Default that, up to 2048. */
  readonly tokens?: number;
  /** Whether the checkpoint has a head of its own, whatever its configuration says of tied ones. */
  readonly untied?: boolean;
  /** Whether the checkpoint has a tensor of this name; unknown before its weights are looked at. */
  readonly stores?: (tensor: string) => boolean;
  /** Takes weights that are packed integers, as exports have them: they are unpacked when they are read. Default false. */
  readonly packed?: boolean;
}

/** One architecture: how its `config.json` becomes a model. */
export interface Family {
  readonly modelType: string;
  /** The first is that of a configuration that names none. */
  readonly architectures: readonly string[];
  /** Names by which other checkpoints of the family have a tensor. Default none. */
  readonly otherNames?: (name: string) => readonly string[];
  /** Names of tensors that checkpoints have beside a model's, and that change nothing of what it computes. */
  readonly ignores?: RegExp;
  /** Throws UserError on a configuration that it does not support, saying why. */
  build(config: ModelConfig, architecture: string | undefined, options: BuildOptions): Model;
}
