/** Where ONNX Runtime put the nodes of a graph, read from what a session prints at `logSeverityLevel` 0. */

/** The nodes of one compiled graph. */
export interface Placement {
  readonly program: string;
  /** How many nodes each execution provider took, by its name, such as `WebGpuExecutionProvider`. */
  readonly counts: ReadonlyMap<string, number>;
  /** The nodes that fell to the CPU beside another provider: operator and name. */
  readonly onCpu: readonly { readonly op: string; readonly name: string }[];
}

const CPU = 'CPUExecutionProvider';
// … [V:onnxruntime:<program>, session_state.cc:1 VerifyEachNodeIsAssignedToAnEp]  <message>
const LINE = /\[V:onnxruntime:(.*), \S+ VerifyEachNodeIsAssignedToAnEp\] +(.*)$/;
const HEADER = /^(?:All nodes|Node\(s\)) placed on \[(\w+)\]\. Number of nodes: (\d+)/;
const NODE = /^(\S+) \((.*)\)$/;

/** The placements in a log, in the order of compilation. */
export function readPlacements(log: string): Placement[] {
  const found: Placement[] = [];
  let counts = new Map<string, number>();
  let onCpu: { op: string; name: string }[] = [];
  let provider = '';
  for (const line of log.split('\n')) {
    const [, program, message] = LINE.exec(line.trimEnd()) ?? [];
    if (program === undefined || message === undefined) continue;
    const [, name, count] = HEADER.exec(message) ?? [];
    if (message === 'Node placements') {
      counts = new Map();
      onCpu = [];
      found.push({ program, counts, onCpu });
    }
    if (name !== undefined) counts.set((provider = name), Number(count));
    const [, op, node] = NODE.exec(message) ?? [];
    if (op !== undefined && node !== undefined && provider === CPU) onCpu.push({ op, name: node });
  }
  return found;
}
