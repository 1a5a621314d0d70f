/** What a plan's page shows, from its model's table and what surrounds it. Knows no editor. */
import { decodeBits, sameBits } from '../../engine/plans/bits.js';
import { totalsOf } from '../../engine/plans/totals.js';
import type { Allocation, PrecisionTable } from '../../engine/protocol/protocol.js';
import type { FrontierPoint, Table } from '../../webview/precision/protocol.js';

/** Without the paths, which the page does not see. */
export function pageTable({ model, sensitivity, ...table }: PrecisionTable): Table {
  const { bits, layers, otherBytes, fullBytes, switchableBytes } = table;
  const { costs, samples, data, stale } = sensitivity ?? {};
  return {
    task: model.task,
    bits,
    layers,
    otherBytes,
    fullBytes,
    ...(switchableBytes !== undefined && { switchableBytes }),
    ...(costs && { sensitivity: { costs, samples: samples!, data: data!, ...(stale && { stale }) } }),
  };
}

/** More points than a slider has pixels help nobody. */
const POINTS = 400;

/** Points as the page draws them, the ends among them; none where the table is not the one they were found for. */
export function frontierPoints(
  { offered, points }: Pick<Allocation, 'offered' | 'points'>,
  table: PrecisionTable,
): FrontierPoint[] {
  if (!sameBits(offered, table.bits)) return [];
  const count = Math.min(POINTS, points.length);
  const chosen =
    count < points.length
      ? Array.from({ length: count }, (_, i) => points[Math.round((i * (points.length - 1)) / (count - 1))]!)
      : points;
  return chosen.map(({ bits, cost }) => {
    const { bytes, averageBits } = totalsOf(table, decodeBits(bits, offered));
    return { bits, cost, bytes, averageBits };
  });
}
