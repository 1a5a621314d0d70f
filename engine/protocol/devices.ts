/** Devices: where the engine can run. */

export type DeviceKind = 'cpu' | 'webgpu' | 'cuda';

export type DeviceChoice = DeviceKind | 'auto';

/** What every job may be told about where it runs. */
export interface Placement {
  /** Default `auto`: the fastest by measurement. */
  readonly device?: DeviceChoice;
  /** CPU threads; default one per physical core. */
  readonly threads?: number;
}

export type DeviceReport =
  | (Rates & {
      readonly kind: DeviceKind;
      readonly available: true;
      /** For people: the processor's name, the graphics adapter's where it can be had. */
      readonly name: string;
    })
  | {
      readonly kind: DeviceKind;
      readonly available: false;
      /** One sentence. */
      readonly reason: string;
    };

/** How fast a device is. */
export interface Rates {
  /** GFLOP/s of a float32 matrix product. */
  readonly gflops: number;
  /** Elements that an element-wise operator computes a second, in 10⁹: it reads two tensors and writes one. */
  readonly gelements: number;
  /** Seconds that running an operator takes beside its work. */
  readonly overhead: number;
}
