import { expect, it } from 'vitest';
import { readPlacements } from './placement.js';

const line = (program: string, message: string) =>
  `2026-01-02 03:04:05.678 [V:onnxruntime:${program}, session_state.cc:1377 VerifyEachNodeIsAssignedToAnEp] ${message}\n`;

it('reads the placements of several programs between other lines', () => {
  const log = [
    '2026-01-02 03:04:05.678 [I:onnxruntime:step ×2, inference_session.cc:1 Initialize] Initializing session.\n',
    line('step ×2', 'Node placements'),
    line('step ×2', ' Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2'),
    line('step ×2', '  Round (Round_36)'),
    line('step ×2', '  Sign (Sign_7)'),
    line('step ×2', ' Node(s) placed on [WebGpuExecutionProvider]. Number of nodes: 1'),
    line('step ×2', '  Gemm (Gemm_1)'),
    'Warning: something else\n',
    line('merge [a, b]', 'Node placements'),
    line('merge [a, b]', ' All nodes placed on [WebGpuExecutionProvider]. Number of nodes: 23'),
  ].join('');
  expect(readPlacements(log)).toEqual([
    {
      program: 'step ×2',
      counts: new Map([
        ['CPUExecutionProvider', 2],
        ['WebGpuExecutionProvider', 1],
      ]),
      onCpu: [
        { op: 'Round', name: 'Round_36' },
        { op: 'Sign', name: 'Sign_7' },
      ],
    },
    { program: 'merge [a, b]', counts: new Map([['WebGpuExecutionProvider', 23]]), onCpu: [] },
  ]);
  expect(readPlacements('')).toEqual([]);
});
