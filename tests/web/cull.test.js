// The culling view's model: marks, filters, order, and where pictures lie.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  between, fittedSide, formatMarks, held, layout, markOf, owned, parseHand, passes, saidMark, setMark, shownPlaces, surveyColumns,
} from "../../web/cull/model.js";

const [A, B, C] = ["0123456789abcdef", "f".repeat(16), "0".repeat(16)];
const ROWS = [
  { id: A, prompt: "x", scores: { one: 3, two: 1 } },
  { id: B, prompt: "y", scores: { one: 2, two: 2 } },
  { id: C, prompt: "x", scores: { one: 1, two: 2 } },
];
const ALL = { filter: "all", sort: "rank", descending: true, grouped: false, marks: new Map(), picks: new Set() };

test("marks are read as the node reads them, and written so", () => {
  const { marks, picks } = parseHand(`${A}:5p, ${B}:0x\n${C}:0 <img src=x> ${A}:6 ${A}x`);
  assert.deepEqual([...marks], [
    [A, { stars: 5, rejected: false }], [B, { stars: 0, rejected: true }], [C, { stars: 0, rejected: false }],
  ]);
  assert.deepEqual([...picks], [A]);
  assert.equal(formatMarks(marks, picks), `${A}:5p,${B}:0x,${C}:0`);
  assert.equal(formatMarks(new Map(), new Set([C])), `${C}:0p`);
  assert.deepEqual([...parseHand(`${A}:5p ${A}:0`).picks], []);
  assert.deepEqual([...parseHand(null).marks], []);
});

test("what came with the pictures holds until it is marked anew, and can be taken back", () => {
  const rows = [{ id: A, carried: { stars: 4, picked: true } }, { id: B, carried: { stars: -1, picked: false } }, { id: C }];
  const before = parseHand(`${"1".repeat(16)}:0 ${"2".repeat(16)}:3`); // of other pictures
  const now = held(rows, before);
  assert.deepEqual([markOf(now.marks, A), markOf(now.marks, B), [...now.picks]], [
    { stars: 4, rejected: false }, { stars: 0, rejected: true }, [A],
  ]);
  assert.deepEqual(owned(rows, now, before), { marks: new Map([...before.marks].reverse()), picks: new Set() });
  now.picks.delete(A);
  setMark(now.marks, B, { stars: 0, rejected: false });
  setMark(now.marks, C, { stars: 1, rejected: false });
  const mine = owned(rows, now, before);
  assert.deepEqual([markOf(mine.marks, A), mine.marks.has(B), mine.picks.size], [{ stars: 4, rejected: false }, true, 0]);
  const again = held(rows, mine);
  assert.deepEqual([again.picks, markOf(again.marks, B), markOf(again.marks, C).stars], [new Set(), { stars: 0, rejected: false }, 1]);
  assert.equal(owned(rows, held(rows, before), mine).marks.has(A), false); // back as it came
});

test("of more marks than the node takes the newest stay", () => {
  const marks = new Map();
  for (let i = 0; i < 4100; i += 1) setMark(marks, i.toString(16).padStart(16, "0"), { stars: 1, rejected: false });
  setMark(marks, C, { stars: 2, rejected: false }); // the oldest, changed
  const words = formatMarks(marks).split(",");
  assert.equal(words.length, 4096);
  assert.equal(words.at(-1), `${C}:2`);
  assert.equal(words[0].slice(0, 16), (5).toString(16).padStart(16, "0"));
});

test("a mark in words, and one that is not there", () => {
  assert.equal(saidMark({ stars: 1, rejected: false }, true), "1 star, picked");
  assert.equal(saidMark({ stars: 3, rejected: true }, false), "3 stars, rejected");
  assert.equal(saidMark(markOf(new Map(), A), false), "");
});

test("filters by picks, rejections and stars", () => {
  const mark = (stars, rejected = false) => ({ stars, rejected });
  assert.deepEqual([passes("all", mark(0, true), false), passes("picked", mark(0), true), passes("picked", mark(5), false)], [
    true, true, false,
  ]);
  assert.deepEqual([passes("kept", mark(0), false), passes("kept", mark(5, true), false)], [true, false]);
  assert.deepEqual([passes("rejected", mark(0, true), false), passes(3, mark(3), false), passes(3, mark(2), true)], [
    true, true, false,
  ]);
});

test("sorted by rank, any score or stars, ties in order; a prompt's together", () => {
  assert.deepEqual(shownPlaces(ROWS, ALL), [0, 1, 2]);
  assert.deepEqual(shownPlaces(ROWS, { ...ALL, descending: false }), [2, 1, 0]);
  assert.deepEqual(shownPlaces(ROWS, { ...ALL, sort: "two" }), [1, 2, 0]);
  assert.deepEqual(shownPlaces(ROWS, { ...ALL, sort: "one", descending: false }), [2, 1, 0]);
  const marks = parseHand(`${A}:0x,${C}:4`).marks;
  assert.deepEqual(shownPlaces(ROWS, { ...ALL, sort: "stars", marks }), [2, 1, 0]);
  assert.deepEqual(shownPlaces(ROWS, { ...ALL, filter: "kept", marks }), [1, 2]);
  assert.deepEqual(shownPlaces(ROWS, { ...ALL, grouped: true }), [0, 2, 1]);
  assert.deepEqual(shownPlaces(ROWS, { ...ALL, grouped: true, sort: "two" }), [2, 0, 1]);
});

test("pictures lie in as many columns as there is room for, under their prompts", () => {
  const room = { width: 304, least: 100, gap: 2 };
  const plain = layout([null, null, null, null], room);
  assert.deepEqual(plain.boxes.map(({ top, left }) => [top, left]), [[0, 0], [0, 102], [0, 204], [102, 0]]);
  assert.deepEqual([plain.columns, plain.side, plain.height], [3, 100, 202]);
  const grouped = layout(["x", "y", "y"], room);
  assert.deepEqual(grouped.heads, [{ top: 0, text: "x" }, { top: 136, text: "y" }]);
  assert.deepEqual(grouped.boxes.map(({ top, left }) => [top, left]), [[34, 0], [170, 0], [170, 102]]);
  assert.equal(layout([], room).height, 0);
});

test("of what lies there, only what can be seen", () => {
  const { boxes } = layout(Array(2000).fill(null), { width: 1000, least: 100, gap: 0 }); // ten in a row
  assert.deepEqual(between(boxes, 1000, 1500, 100), [90, 150]);
  assert.deepEqual(between(boxes, -500, 50, 100), [0, 10]);
  assert.deepEqual(between(boxes, 19_950, 30_000, 100), [1990, 2000]);
  assert.deepEqual(between([], 0, 100, 100), [0, 0]);
});

test("few pictures are as large as lets all be seen", () => {
  assert.equal(fittedSide(12, 1800, 1020, 4), 296); // six columns, two rows
  assert.equal(fittedSide(1, 1800, 1020, 4), 1800);
  assert.deepEqual([surveyColumns(2, 1800, 1000), surveyColumns(4, 1800, 1000), surveyColumns(6, 1000, 1000)], [2, 2, 2]);
});
