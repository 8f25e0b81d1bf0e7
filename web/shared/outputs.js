// Which output belongs to which node, without a page. Pure functions over what the page and the host hold.

/**
 * The ids that lead from the root graph to a graph: [] for the root itself, null where it is not below it.
 * @param {any} root
 * @param {any} graph
 * @returns {(string | number)[] | null}
 */
export function pathTo(root, graph) {
  if (!root || !graph) return null;
  if (graph === root || graph.id === root.id) return [];
  for (const node of root.nodes ?? root._nodes ?? []) {
    const rest = node.subgraph ? pathTo(node.subgraph, graph) : null;
    if (rest) return [node.id, ...rest];
  }
  return null;
}

/** The id under which the host runs a node: "6", or "9:6" for node 6 in the subgraph that node 9 is; null off the graph. */
export function executionId(root, node) {
  const path = pathTo(root, node?.graph);
  return path && [...path, node.id].join(":");
}

/** The key of a node in the page's `nodeOutputs`: its id, behind the subgraph's own id where it is in one. */
export function outputKey(root, node) {
  const graph = node?.graph;
  return !graph || graph === root || graph.id === root?.id ? String(node.id) : `${graph.id}:${node.id}`;
}

/** The node that the host calls `id`; undefined where there is none. */
export function nodeAt(root, id) {
  const parts = String(id).split(":");
  let graph = root;
  for (const [place, part] of parts.entries()) {
    const node = graph?.getNodeById?.(Number(part)) ?? graph?.getNodeById?.(part);
    if (place === parts.length - 1) return node ?? undefined;
    graph = node?.subgraph;
  }
  return undefined;
}

/**
 * What a node put out in the newest of the host's runs of a workflow; null where no run has it.
 * @param {Record<string, any>} history the host's /history
 * @param {{workflow: string, id: string, type: string}} node the workflow's id, the node's, and its class
 */
export function lastOutput(history, { workflow, id, type }) {
  const runs = Object.values(history ?? {}).sort((a, b) => (b.prompt?.[0] ?? 0) - (a.prompt?.[0] ?? 0));
  for (const run of runs) {
    const [, , prompt, extra] = run.prompt ?? [];
    if (extra?.extra_pnginfo?.workflow?.id !== workflow) continue;
    const output = run.outputs?.[id];
    if (output && prompt?.[id]?.class_type === type) return output;
  }
  return null;
}
