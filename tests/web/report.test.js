// Reports: tables in a text, as Markdown writes them, become tables that fit a node.

import assert from "node:assert/strict";
import { test } from "node:test";

import { partsOf } from "../../web/shared/tables.js";

const HEAD = "| | model | FID |\n| --- | --- | --- |\n";

test("a text without a table is one part, whatever is in it", () => {
  for (const text of ["", "one line", "two\nlines", "| a bar |\nalone", "|\n| --- |", "a | b\n--- | ---"]) {
    assert.deepEqual(partsOf(text), [{ text }]);
  }
});

test("a short table stands on its side, without what says nothing", () => {
  const text = `${HEAD}| overall | before | 3.5 (3 to 4) |\n| overall | after | 1 |\n\nIntervals are 95%.`;
  assert.deepEqual(partsOf(text), [
    { rows: [["model", "before", "after"], ["FID", "3.5 (3 to 4)", "1"]] },
    { text: "\nIntervals are 95%." },
  ]);
});

test("a long one stays as it is, and more than one can be there", () => {
  const rows = ["a", "b", "c", "d"].map((name) => `| ${name} | m | 1 |`).join("\n");
  const [first, between, second] = partsOf(`${HEAD}${rows}\nbetween\n| x |\n| :-: |\n| 1 |`);
  assert.equal(first.rows.length, 5);
  assert.deepEqual(first.rows[1], ["a", "m", "1"]);
  assert.deepEqual(between, { text: "between" });
  assert.deepEqual(second, { rows: [["x", "1"]] });
});

test("an escaped bar belongs to its cell, and a short row has empty cells", () => {
  assert.deepEqual(partsOf("| a | b |\n| --- | --- |\n| x \\| y |"), [{ rows: [["a", "x | y"], ["b", ""]] }]);
});
