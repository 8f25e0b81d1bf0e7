// Words and figures of a training run.

import assert from "node:assert/strict";
import { test } from "node:test";

import { compared, heldOut, statusLine, stoppedLine, timeLeft } from "../../web/training/model.js";
import { short } from "../../web/training/chart.js";

test("time is said in the unit that fits", () => {
  assert.deepEqual([null, undefined, 0, 89, 90, 2100].map(timeLeft), ["", "", "1 s left", "89 s left", "2 min left", "35 min left"]);
});

test("the status has what is known", () => {
  assert.equal(statusLine({ state: "done" }), "done");
  assert.equal(
    statusLine({ state: "sampling 6 of 8", epoch: 2, epochs: 9, seconds_left: 30 }),
    "sampling 6 of 8  \u00b7  epoch 2 of 9  \u00b7  30 s left",
  );
});

test("a run that was stopped says what is kept, not what was left", () => {
  assert.equal(stoppedLine([{}, {}], 9), "stopped  \u00b7  epoch 2 of 9 is finished  \u00b7  Run goes on from there");
});

test("comparisons are about the watched reward where there is one", () => {
  assert.equal(compared({}), undefined);
  assert.equal(compared({ evaluation: { rewards: { a: { tuned: 1 } } } }), 1);
  assert.equal(compared({ evaluation: { rewards: { a: { tuned: 1 }, "watched: b": { tuned: 2 } } } }), 2);
});

test("held-out pairs are shown where there are some", () => {
  assert.equal(heldOut({ evaluation: null }), undefined);
  assert.equal(heldOut({ evaluation: { rewards: {}, accuracy: 0.7 } }), 0.7);
});

test("a number has about three digits", () => {
  assert.deepEqual([0, 0.1234, 1.234, 12.34, 123.4, 12345, 0.00001].map(short), [
    "0", "0.123", "1.23", "12.3", "123", "1.2e+4", "1.0e-5",
  ]);
});
