/** The Jobs view. A job that changes redraws its own row, unless its place in the list may have changed. */
import { vscode } from '../common/vscode.js';
import { createTree, rowItem, type Tree } from '../common/tree.js';
import { isActive, type JobList } from './job-list.js';
import { countOfJobs, detailRow, detailsOf, jobRow, type JobNode, type JobsNode } from './nodes.js';

export function createJobsTree(jobs: JobList, explained: () => boolean): Tree<JobsNode> {
  // A row can be redrawn by the very object that stands for it alone.
  const nodes = new Map<string, JobNode>();
  const nodeOf = (id: string): JobNode => {
    const node = nodes.get(id) ?? { kind: 'job', id };
    nodes.set(id, node);
    return node;
  };

  const tree = createTree<JobsNode>(
    'elasticPrecision.jobs',
    {
      children: async (node) => {
        if (node === undefined) return (await jobs.all()).map(({ id }) => nodeOf(id));
        const job = node.kind === 'job' ? jobs.get(node.id) : undefined;
        return job ? detailsOf(nodeOf(job.id), job) : [];
      },
      item: (node) => {
        if (node.kind === 'detail') return rowItem(detailRow(node));
        const job = jobs.get(node.id);
        return job ? rowItem(jobRow(job)) : new vscode.TreeItem('');
      },
      parent: (node) => (node.kind === 'detail' ? node.job : undefined),
    },
    explained,
  );

  jobs.onDidChange((change) => {
    const stays = change?.job && change.before && change.job.state === change.before.state;
    tree.refresh(stays ? nodeOf(change.job.id) : undefined);
    const active = jobs.known().filter(isActive).length;
    const badge = active > 0 ? { value: active, tooltip: countOfJobs(active) } : undefined;
    if (tree.view.badge?.value !== badge?.value) tree.view.badge = badge;
  });
  return tree;
}
