/** The Adapter Sets view: models, their adapter sets, what each is made of and its evaluations. */
import { createTree, rowItem, type Tree, type TreeSource } from '../common/tree.js';
import type { AdapterList } from './adapter-list.js';
import {
  calibrationRow,
  evaluationRow,
  ownerRow,
  partRow,
  setRow,
  type AdaptersNode,
  type EvaluationNode,
  type OwnerNode,
  type SetNode,
} from './nodes.js';

export function createAdaptersTree(adapters: AdapterList, explained: () => boolean): Tree<AdaptersNode> {
  const tree = createTree('elasticPrecision.adapterSets', sourceOf(adapters), explained);
  adapters.onDidChange(() => tree.refresh());
  return tree;
}

const sourceOf = (adapters: AdapterList): TreeSource<AdaptersNode> => ({
  children: async (node) => {
    if (node === undefined) return (await adapters.all()).map((owner) => ({ kind: 'owner', owner }));
    if (node.kind === 'owner') return childrenOfOwner(node);
    if (node.kind === 'set') return childrenOfSet(node);
    return [];
  },
  item: (node) => {
    switch (node.kind) {
      case 'owner':
        return rowItem(ownerRow(node));
      case 'set':
        return rowItem(setRow(node));
      case 'part':
        return rowItem(partRow(node));
      case 'calibration':
        return rowItem(calibrationRow(node));
      case 'evaluation':
        return openable(node);
    }
  },
  parent: (node) => {
    if (node.kind === 'owner') return undefined;
    return node.kind === 'set' ? { kind: 'owner', owner: node.owner } : node.parent;
  },
});

const childrenOfOwner = (node: OwnerNode): AdaptersNode[] => [
  ...node.owner.sets.map((entry): SetNode => ({ kind: 'set', owner: node.owner, entry })),
  ...node.owner.evaluations.map((report): EvaluationNode => ({ kind: 'evaluation', parent: node, report })),
];

function childrenOfSet(node: SetNode): AdaptersNode[] {
  const { set, evaluations } = node.entry;
  const own: AdaptersNode[] = set.readable
    ? [
        ...set.facts.parts.map((part): AdaptersNode => ({ kind: 'part', parent: node, part })),
        { kind: 'calibration', parent: node, set },
      ]
    : [];
  return [
    ...own,
    ...evaluations.map((report): EvaluationNode => ({ kind: 'evaluation', parent: node, report })),
  ];
}

/** Choosing an evaluation opens it. */
function openable(node: EvaluationNode) {
  const row = evaluationRow(node);
  if (!node.report.readable) return rowItem(row);
  return rowItem({
    ...row,
    command: { command: 'elasticPrecision.openEvaluation', title: row.label, arguments: [node] },
  });
}
