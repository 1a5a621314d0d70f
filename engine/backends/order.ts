/** Columns of a weight in the order of what they weigh ("act order"). */

/** Columns by falling diagonal of H [n, n]; of equal ones the first comes first. */
export function byFallingDiagonal(hessian: Float32Array, n: number): Uint32Array {
  const diagonal = Float64Array.from({ length: n }, (_, i) => hessian[i * n + i]!);
  return Uint32Array.from(diagonal.keys()).sort((a, b) => diagonal[b]! - diagonal[a]! || a - b);
}

/** A matrix with its columns in this order: place i has column `order[i]`. */
export function columnsInOrder(data: Float32Array, order: Uint32Array): Float32Array {
  const n = order.length;
  const found = new Float32Array(data.length);
  for (let row = 0; row < data.length; row += n)
    for (let i = 0; i < n; i++) found[row + i] = data[row + order[i]!]!;
  return found;
}

/** A square matrix with its rows and columns in this order. */
export function bothInOrder(data: Float32Array, order: Uint32Array): Float32Array {
  const n = order.length;
  const columns = columnsInOrder(data, order);
  const found = new Float32Array(data.length);
  for (let i = 0; i < n; i++) found.set(columns.subarray(order[i]! * n, (order[i]! + 1) * n), i * n);
  return found;
}
