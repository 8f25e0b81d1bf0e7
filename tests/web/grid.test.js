// The grid's model: what messages add up to, cells and keys, where means lie, what the large view goes through.

import assert from "node:assert/strict";
import { test } from "node:test";

import { cellAt, cellWords, highest, merged, moved, positions, shape, valueWords, viewed, withReach } from "../../web/grid/model.js";

const FRAME = {
  node: "4",
  axes: [
    { setting: "guidance_scale", labels: ["1", "3"] },
    { setting: "model", labels: ["sdxl", "play", "toy"] },
    { setting: "none", labels: [""] },
  ],
  variants: ["seed 7", "seed 8"],
  prompts: ["a heart"],
  shots: Array.from({ length: 12 }, (_, place) => [0, String(7 + (place % 2))]),
  made: [],
  state: "starting",
};

test("messages add up, in any portions, and a new beginning forgets", () => {
  const start = merged(null, FRAME);
  assert.equal(start.pictures.length, 12);
  const some = merged(start, { node: "4", state: "sampling", made: [[3, { thumb: "x" }]] });
  assert.deepEqual(some.pictures[3], { thumb: "x" });
  assert.equal(start.pictures[3], null); // what was is not changed
  assert.equal(some.variants.length, 2);
  const more = merged(some, { node: "4", state: "sampling", made: [[0, { thumb: "y" }]] });
  assert.equal(more.pictures.filter(Boolean).length, 2);
  assert.equal(merged(more, FRAME).pictures.filter(Boolean).length, 0);
  assert.equal(merged(null, { node: "4", state: "sampling", made: [] }), null); // the beginning was not heard
});

test("a cell has its number and its words", () => {
  assert.deepEqual(shape(FRAME), [1, 3, 2, 2]);
  assert.equal(cellAt(FRAME, 0, 2, 1), 5);
  assert.equal(cellWords(FRAME, 5), "guidance_scale 3, toy");
  assert.equal(valueWords(FRAME.axes[2], 0), "");
});

test("keys lead to neighbours and stop at the edges", () => {
  assert.deepEqual(moved("ArrowRight", [0, 0], shape(FRAME)), [0, 1]);
  assert.deepEqual(moved("ArrowRight", [0, 1], shape(FRAME)), [0, 1]);
  assert.deepEqual(moved("ArrowDown", [0, 1], shape(FRAME)), [1, 1]);
  assert.deepEqual(moved("End", [2, 0], shape(FRAME)), [2, 1]);
  assert.equal(moved("a", [0, 0], shape(FRAME)), null);
});

test("means lie between the ends of all intervals", () => {
  const places = positions([
    [0, 1],
    [1, null],
  ]);
  assert.deepEqual(places.map(({ from, at, to }) => [from, at, to]), [
    [4, 50, 96],
    [96, 96, 96],
  ]);
  assert.deepEqual(positions([[2, null]])[0], { at: 50, from: 50, to: 50 });
  assert.equal(highest([[1, 0], [3, 0], [3, 0]]), 1);
  assert.equal(highest([[1, 0]]), -1);
  assert.equal(withReach([0.5, 0.25]), "+0.500 \u00b1 0.250");
  assert.equal(withReach([-0.5, null]), "\u22120.500");
});

test("the large view goes through a page, one seed or all, and knows ranks", () => {
  const grid = { ...merged(null, FRAME), scores: Array.from({ length: 12 }, (_, place) => place / 10) };
  const all = viewed(grid, 0, -1, 2);
  assert.equal(all.rows.length, 12);
  assert.equal(all.start, 4);
  assert.equal(all.rows[11].rank, 1);
  assert.equal(all.rows[4].name, "guidance_scale 1, play");
  const one = viewed(grid, 0, 1, 2);
  assert.equal(one.rows.length, 6);
  assert.equal(one.start, 2);
  assert.ok(one.rows.every((row) => row.seed_text === "8"));
});
