// Answers to why a picture scored as it did: kept by picture, read in turn, said in a line.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answerOf, heatOf, learnAnswers, nextHeat, onAnswers, saidReason } from "../../web/why/answers.js";

const ROW = { id: "a", fellows: 4, parts: [{ reward: "one", heat: "map 1", reasons: [] }, { reward: "two", heat: "map 2", reasons: [] }] };

test("an answer stays with its picture, and views hear of it until they close", () => {
  const heard = [];
  const stop = onAnswers((rows) => heard.push(rows.map((row) => row.id)));
  learnAnswers([ROW]);
  stop();
  learnAnswers([{ ...ROW, id: "b" }]);
  assert.deepEqual(heard, [["a"]]);
  assert.equal(answerOf("a").parts.length, 2);
  assert.equal(answerOf("c"), undefined);
});

test("maps follow each other, then the picture", () => {
  learnAnswers([ROW]);
  const seen = [];
  for (let heat = null, i = 0; i < 4; i += 1) seen.push(heatOf("a", (heat = nextHeat(heat, answerOf("a")))));
  assert.deepEqual(seen, ["map 1", "map 2", null, "map 1"]);
  assert.equal(heatOf("c", 0), null); // a picture that was never asked about is shown as it is
  assert.equal(nextHeat(null, undefined), null);
});

test("the oldest of very many answers go", () => {
  for (let i = 0; i < 600; i += 1) learnAnswers([{ ...ROW, id: `many ${i}` }]);
  assert.deepEqual([answerOf("many 0"), answerOf("many 599").id], [undefined, "many 599"]);
});

test("a reason says which way and how far", () => {
  assert.equal(saidReason({ words: "darker", effect: -0.12 }), "\u25bc darker \u22120.120");
  assert.equal(saidReason({ words: "crisper", effect: 0.5 }), "\u25b2 crisper +0.500");
});
