// The gallery's model: picks, order, filters, and where a key leads.

import assert from "node:assert/strict";
import { test } from "node:test";

import { arranged, described, formatPicks, formatScore, moved, parsePicks, scoreRange } from "../../web/gallery/model.js";

const ALL = { sort: "rank", descending: true, threshold: null, hidden: new Set(), onlyPicked: false, picks: new Set() };
const ROWS = [
  { id: "a", score: 2, bucket: "great", scores: { one: 2, two: 5 } },
  { id: "b", score: 1, bucket: "ok", scores: { one: 1, two: 7 } },
  { id: "c", score: -1, bucket: "bad", scores: { one: -1, two: 7 } },
];
// rows of three, three and one, a hundred pixels apart
const GRID = [0, 1, 2, 3, 4, 5, 6].map((i) => ({ top: 100 * Math.floor(i / 3), left: 100 * (i % 3) }));

test("picks are read however they are separated, and what is no id is left out", () => {
  const [one, two] = ["0123456789abcdef", "f".repeat(16)];
  assert.deepEqual([...parsePicks(`${one}, ${two}\n<img src=x> 123`)], [one, two]);
  assert.deepEqual([...parsePicks(null)], []);
  assert.equal(formatPicks(new Set([one, two])), `${one},${two}`);
});

test("a score has its sign and three digits; what is no number has no words", () => {
  assert.equal(formatScore(1.2345), "+1.234");
  assert.equal(formatScore(-0.5), "\u22120.500");
  assert.equal(formatScore(-0.0001), "0.000");
  assert.equal(formatScore(NaN), "");
  assert.equal(formatScore(null), "");
});

test("the range is that of finite scores", () => {
  assert.deepEqual(scoreRange([...ROWS, { score: Infinity }]), [-1, 2]);
  assert.deepEqual(scoreRange([]), [0, 0]);
});

test("rows are filtered by score, bucket and picks, and sorted by any column with ties in order", () => {
  assert.deepEqual(arranged(ROWS, ALL), [0, 1, 2]);
  assert.deepEqual(arranged(ROWS, { ...ALL, descending: false }), [2, 1, 0]);
  assert.deepEqual(arranged(ROWS, { ...ALL, threshold: 1 }), [0, 1]);
  assert.deepEqual(arranged(ROWS, { ...ALL, hidden: new Set(["great"]) }), [1, 2]);
  assert.deepEqual(arranged(ROWS, { ...ALL, onlyPicked: true, picks: new Set(["c"]) }), [2]);
  assert.deepEqual(arranged(ROWS, { ...ALL, sort: "two" }), [1, 2, 0]);
  assert.deepEqual(arranged(ROWS, { ...ALL, sort: "two", descending: false }), [0, 1, 2]);
});

test("arrows lead to the neighbour, and up and down to the nearest of the next row", () => {
  const lead = (key, from) => moved(key, from, GRID, 3);
  assert.deepEqual([lead("ArrowRight", 2), lead("ArrowLeft", 0), lead("End", 0), lead("Home", 5)], [3, 0, 6, 0]);
  assert.deepEqual([lead("ArrowDown", 1), lead("ArrowDown", 5), lead("ArrowUp", 6)], [4, 6, 3]);
  assert.deepEqual([lead("PageDown", 1), lead("PageUp", 6)], [6, 0]);
  assert.equal(lead("x", 1), null);
});

test("a row in words says what is known and no more", () => {
  assert.equal(described({ rank: 1, score: 0.5 }), "Rank 1, score +0.500");
  const row = { rank: 2, score: 0.5, bucket: "ok", kept: true, seed_text: "7", name: "a.png", prompt: "a star" };
  assert.equal(described(row), "Rank 2, score +0.500, ok, kept, seed 7, a.png, a star");
});
