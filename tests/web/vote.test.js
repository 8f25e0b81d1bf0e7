// Votes without a page: what counts, what is undone, where to go next.

import assert from "node:assert/strict";
import { test } from "node:test";

import { choices, formatVotes, lastVoted, nextOpen, parseVotes, withVote, withoutStored } from "../../web/vote/model.js";

const ROWS = [{ token: "a" }, { token: "b", vote: "left", at: 50 }, { token: "c" }];

test("what is no list of votes is none", () => {
  for (const text of ["", "x", "[]", "{}", '{"version":2,"votes":[]}', '{"version":1,"votes":{}}']) {
    assert.deepEqual(parseVotes(text), []);
  }
  assert.deepEqual(parseVotes('{"version":1,"votes":[["a","left",1],["b"],[1,"left",2],["c","left","x"]]}'), [["a", "left", 1]]);
  assert.equal(formatVotes([]), "");
  assert.deepEqual(parseVotes(formatVotes([["a", "tie", 3]])), [["a", "tie", 3]]);
});

test("a later vote takes the place of an earlier one, even where the clock stands still or goes back", () => {
  let votes = withVote([], ROWS[0], "left", 100);
  votes = withVote(votes, ROWS[0], "right", 90);
  assert.deepEqual(votes, [["a", "right", 101]]);
  assert.deepEqual(withVote([], ROWS[1], "right", 10), [["b", "right", 51]]); // later than the stored one
});

test("the later of stored and cast counts, and a vote taken back is none", () => {
  assert.deepEqual(choices(ROWS, []), ["", "left", ""]);
  assert.deepEqual(choices(ROWS, [["b", "right", 49]]), ["", "left", ""]);
  assert.deepEqual(choices(ROWS, [["b", "right", 60], ["a", "tie", 1]]), ["tie", "right", ""]);
  assert.deepEqual(choices(ROWS, [["b", "none", 60]]), ["", "", ""]);
});

test("the next pair without a vote is found around the end", () => {
  assert.equal(nextOpen(["x", "", "x"], 2), 1);
  assert.equal(nextOpen(["x", "x"], 0), -1);
  assert.equal(nextOpen([], 0), -1);
});

test("undo takes back what was voted last, stored or not", () => {
  assert.equal(lastVoted(ROWS, []), 1);
  assert.equal(lastVoted(ROWS, [["c", "tie", 60], ["a", "left", 60]]), 0); // of two at once, the one cast later
  assert.equal(lastVoted(ROWS, [["b", "none", 60]]), -1);
});

test("votes that the study has stored leave the node; one cast since stays", () => {
  const votes = [["a", "left", 1], ["b", "tie", 2]];
  assert.deepEqual(withoutStored(votes, [["a", "left", 1], ["b", "left", 1]]), [["b", "tie", 2]]);
});
