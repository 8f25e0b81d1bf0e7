// Answers to why a picture scored as it did: kept by picture, read in turn, said in a line.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answerOf, heatOf, learnAnswers, nextHeat, onAnswers, saidReason } from "../../web/why/answers.js";

const PARTS = [
  { reward: "one", score: 0.5, usual: 0.2, heat: "map 1", reasons: [] },
  { reward: "two", score: 3, usual: null, heat: "map 2", reasons: [] }, // a reward that the table has no column of
];
const ROW = { id: "a", fellows: 4, parts: PARTS };
const seen = (id, one = 0.5) => ({ id, scores: { one } }); // a row of a view

test("an answer stays with its picture, and views hear of it until they close", () => {
  const heard = [];
  const stop = onAnswers((rows) => heard.push(rows.map((row) => row.id)));
  learnAnswers([ROW]);
  stop();
  learnAnswers([{ ...ROW, id: "b" }]);
  assert.deepEqual(heard, [["a"]]);
  assert.equal(answerOf(seen("a")).parts.length, 2);
  assert.equal(answerOf(seen("c")), undefined);
});

test("an answer is gone where the picture has another score by now", () => {
  learnAnswers([ROW]);
  assert.equal(answerOf(seen("a", 0.5000004)).id, "a"); // rounded on the way
  assert.equal(answerOf(seen("a", 0.6)), undefined);
  assert.equal(answerOf({ id: "a", scores: { other: 0.5 } }), undefined);
  assert.equal(heatOf(seen("a", 0.6), 0), null);
  assert.equal(answerOf(undefined), undefined);
});

test("maps follow each other, then the picture", () => {
  learnAnswers([ROW]);
  const shown = [];
  for (let heat = null, i = 0; i < 4; i += 1) shown.push(heatOf(seen("a"), (heat = nextHeat(heat, answerOf(seen("a"))))));
  assert.deepEqual(shown, ["map 1", "map 2", null, "map 1"]);
  assert.equal(heatOf(seen("c"), 0), null); // a picture that was never asked about is shown as it is
  assert.equal(nextHeat(null, undefined), null);
});

test("the oldest of very many answers go", () => {
  for (let i = 0; i < 600; i += 1) learnAnswers([{ ...ROW, id: `many ${i}` }]);
  assert.deepEqual([answerOf(seen("many 0")), answerOf(seen("many 599")).id], [undefined, "many 599"]);
});

test("a reason says which way and how far", () => {
  assert.equal(saidReason({ words: "darker", effect: -0.12 }), "\u25bc darker \u22120.120");
  assert.equal(saidReason({ words: "crisper", effect: 0.5 }), "\u25b2 crisper +0.500");
});
