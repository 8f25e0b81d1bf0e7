// Which output belongs to which node: in the root graph, in subgraphs, in the host's history.

import assert from "node:assert/strict";
import { test } from "node:test";

import { executionId, lastOutput, nodeAt, outputKey, pathTo } from "../../web/shared/outputs.js";

/** A root with node 7, and node 9 that is a subgraph with node 6, in which node 4 is a subgraph with node 7. */
function graphs() {
  const graph = (id, nodes) => {
    const made = { id, nodes, getNodeById: (number) => nodes.find((node) => node.id === number) };
    for (const node of nodes) node.graph = made;
    return made;
  };
  const deep = graph("deep", [{ id: 7 }]);
  const inner = graph("inner", [{ id: 6 }, { id: 4, subgraph: deep }]);
  return { deep, inner, root: graph("root", [{ id: 7 }, { id: 9, subgraph: inner }]) };
}

test("a node is named as the host names it, and found by that name", () => {
  const { root, inner, deep } = graphs();
  for (const [id, node] of [["7", root.nodes[0]], ["9:6", inner.nodes[0]], ["9:4:7", deep.nodes[0]]]) {
    assert.equal(executionId(root, node), id);
    assert.equal(nodeAt(root, id), node);
  }
  assert.equal(nodeAt(root, "9:5"), undefined);
  assert.equal(nodeAt(root, "7:6"), undefined);
  assert.equal(executionId(root, { id: 1 }), null);
  assert.equal(pathTo(root, { id: "elsewhere" }), null);
});

test("the page keeps outputs by id, behind the subgraph's own id where there is one", () => {
  const { root, inner } = graphs();
  assert.equal(outputKey(root, root.nodes[0]), "7");
  assert.equal(outputKey(root, inner.nodes[0]), "inner:6");
});

test("the newest run of this workflow that has the node counts, if it is of the same class", () => {
  const run = (number, workflow, type, said) => ({
    prompt: [number, "", { 5: { class_type: type } }, { extra_pnginfo: { workflow: { id: workflow } } }],
    outputs: said ? { 5: { said } } : {},
  });
  const history = {
    a: run(1, "w", "Rank", "old"),
    b: run(3, "other", "Rank", "another workflow's"),
    c: run(2, "w", "Rank", "new"),
    d: run(4, "w", "Rank", null), // cached: nothing to say
    e: run(5, "w", "Score", "another node's"),
    f: { outputs: { 5: { said: "no prompt" } } },
  };
  assert.deepEqual(lastOutput(history, { workflow: "w", id: "5", type: "Rank" }), { said: "new" });
  assert.equal(lastOutput(history, { workflow: "w", id: "6", type: "Rank" }), null);
  assert.equal(lastOutput({}, { workflow: "w", id: "5", type: "Rank" }), null);
});
