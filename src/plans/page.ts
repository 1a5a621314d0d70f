/** What a plan's page shows, from its model's table and what surrounds it. Knows no editor. */
import { bitsOfDigits, totalsOf } from '../../engine/plans/totals.js';
import type { AllocationPoint, PrecisionTable } from '../../engine/protocol/protocol.js';
import type { FrontierPoint, Table } from '../../webview/precision/protocol.js';

/** Without the paths, which the page does not see. */
export function pageTable({ model, sensitivity, ...table }: PrecisionTable): Table {
  const { bits, layers, otherBytes, fullBytes } = table;
  const { costs, samples, data, stale } = sensitivity ?? {};
  return {
    task: model.task,
    bits,
    layers,
    otherBytes,
    fullBytes,
    ...(costs && { sensitivity: { costs, samples: samples!, data: data!, ...(stale && { stale }) } }),
  };
}

/** More points than a slider has pixels help nobody. */
const POINTS = 400;

/** Points as the page draws them, the ends among them. */
export function frontierPoints(points: readonly AllocationPoint[], table: PrecisionTable): FrontierPoint[] {
  const count = Math.min(POINTS, points.length);
  const chosen =
    count < points.length
      ? Array.from({ length: count }, (_, i) => points[Math.round((i * (points.length - 1)) / (count - 1))]!)
      : points;
  return chosen.map(({ bits, cost }) => {
    const { bytes, averageBits } = totalsOf(table, bitsOfDigits(bits));
    return { bits, cost, bytes, averageBits };
  });
}
