// The Search panel's model: messages become one state, looks become a family tree.

import assert from "node:assert/strict";
import { test } from "node:test";

import { CELL, merged, tree } from "../../web/search/model.js";

const look = (step, first, parents, alive, more = 0) => ({
  step,
  steps: 4,
  first,
  more,
  parents,
  alive,
  scores: parents.map((_, i) => i),
  pictures: parents.map(() => ({ filename: "x.png" })),
});
const LOOKS = [look(2, 0, [-1, -1, -1], [true, false, true], 5), look(4, 3, [0, 2, 2], [true, true, true])];

test("messages become one state, and a new run begins anew", () => {
  let known = merged(null, { node: "4", state: "starting", prompts: ["a", "b"] });
  known = merged(known, { node: "4", state: "step 2", prompts: ["a", "b"], prompt: 1, look: LOOKS[0] });
  const more = merged(known, { node: "4", state: "finished", prompts: ["a", "b"], prompt: 1, look: LOOKS[1] });
  assert.deepEqual([more.looks[0].length, more.looks[1].length, more.prompt, more.state], [0, 2, 1, "finished"]);
  assert.equal(known.looks[1].length, 1);
  assert.deepEqual(merged(more, { node: "4", state: "starting", prompts: ["a"] }).looks, [[]]);
  const whole = { node: "4", state: "done", prompts: ["a"], looks: [LOOKS], report: "r" };
  assert.equal(merged(more, whole), whole);
});

test("children hang on their parents, the dead are told from the living, the best is marked", () => {
  const { cells, lines, rows, width, height } = tree(LOOKS);
  assert.equal(cells.length, 6);
  assert.deepEqual(
    lines.map(([x1, , x2]) => [x1 / CELL, x2 / CELL]),
    [
      [0, 0],
      [2, 1],
      [2, 2],
    ],
  );
  assert.deepEqual(
    cells.map((cell) => cell.alive),
    [true, false, true, true, true, true],
  );
  assert.deepEqual(
    cells.map((cell) => cell.best),
    [false, false, false, false, false, true],
  );
  assert.deepEqual(
    rows.map((row) => row.text),
    ["step 2 of 4, 5 more", "finished"],
  );
  assert.equal(width, 3 * CELL);
  assert.ok(height > 0);
  assert.deepEqual(tree([]).cells, []);
});
