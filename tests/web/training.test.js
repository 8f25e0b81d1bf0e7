// Words and figures of a training run.

import assert from "node:assert/strict";
import { test } from "node:test";

import { comparisons, heldOut, joined, keptEpoch, keptLine, rowsOf, statusLine, stoppedLine, timeLeft } from "../../web/training/model.js";
import { fitted, short } from "../../web/training/chart.js";

test("time is said in the unit that fits", () => {
  assert.deepEqual([null, undefined, 0, 89, 90, 2100].map(timeLeft), ["", "", "1 s left", "89 s left", "2 min left", "35 min left"]);
});

const row = (epoch) => ({ epoch });
const told = (since, ...epochs) => ({ since, rows: epochs.map(row), grids: epochs.map(row) });

test("what a message adds goes behind what is known", () => {
  const first = joined(undefined, { ...told(0, 1), log: "log" });
  assert.deepEqual(first.rows, [row(1)]);
  const second = joined(first, told(1, 2));
  assert.deepEqual([second.rows, second.grids, second.missing, second.log], [[row(1), row(2)], [row(1), row(2)], false, "log"]);
  assert.deepEqual(joined(second, { state: "sampling" }).rows, second.rows); // within an epoch
  assert.deepEqual(joined(second, told(1, 2)).rows, second.rows); // an epoch that was done again
  assert.deepEqual(joined(second, told(0, 1)).rows, [row(1)]); // another run of the same node
});

test("a page that has not heard all knows it, and reads whole lines", () => {
  assert.equal(joined(undefined, told(2, 3)).missing, true);
  assert.equal(joined(joined(undefined, told(0, 1)), told(2, 3)).missing, true);
  assert.deepEqual(rowsOf('{"epoch": 1}\n{"epoch": 2}\n{"epo'), [row(1), row(2)]);
  assert.deepEqual(rowsOf(""), []);
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

const judged = (gain, watched, alike, kept) => ({
  evaluation: {
    rewards: { a: { gain_in_base_std: gain }, "watched: b": { gain_in_base_std: watched } },
    diversity_base: 0.2,
    diversity_tuned: alike,
    kept_epoch: kept,
  },
});

test("comparisons are gains of every reward and diversity, with gaps where none was made", () => {
  assert.deepEqual(comparisons([{}, { evaluation: null }]), []);
  const rows = [judged(0.5, 0.1, 0.15, 1), { evaluation: null }, judged(1, -0.2, 0.1, 1)];
  assert.deepEqual(comparisons(rows), [
    { title: "gain: a", values: [0.5, undefined, 1] },
    { title: "watched: b", values: [0.1, undefined, -0.2] },
    { title: "diversity, %", values: [(100 * 0.15) / 0.2, undefined, 50] },
  ]);
});

test("which epoch is kept is the newest comparison's word, and said where it is not the last", () => {
  const rows = [judged(0.5, 0.1, 0.15, 1), judged(1, -0.2, 0.1, 1)];
  assert.deepEqual([[], [{}], rows].map(keptEpoch), [null, null, 1]);
  assert.deepEqual([[{}], rows.slice(0, 1), rows, [judged(0, 0, 0, 0)]].map(keptLine), [
    "",
    "",
    "best so far: epoch 1, marked",
    "best so far: the untrained model",
  ]);
});

test("a title that is too long loses its middle", () => {
  assert.equal(fitted("gain: a", 24), "gain: a");
  assert.equal(fitted("watched: jpeg-compressibility", 24), "watched: jpe\u2026ressibility"); // 12 + 1 + 11
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
