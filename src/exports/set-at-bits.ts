/** A set at one of its bit-widths, as other features hand it to the command. */
export interface SetAtBits {
  readonly kind: 'bits';
  /** Folders of the model and of the set. */
  readonly model: string;
  readonly adapters: string;
  readonly bits: number;
}
