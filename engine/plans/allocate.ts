/** What a budget limits: the mean of the layers' bits, the mean over all weights, or bytes. */
export type Budget = 'average-bits' | 'average-bits-per-weight' | 'bytes';
