// The taste's mathematics without a page: the same numbers as taste/head.py and taste/questions.py, and the next grid.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  agreement,
  answersOf,
  fit,
  formatClicks,
  informationGain,
  nextGrid,
  parseClicks,
  random,
  said,
  withoutKept,
} from "../../web/taste/model.js";

const ANSWERS = [
  { features: [[1, 0, 0.5], [0, 1, -0.5], [0.25, 0.25, 0]], picked: 0 },
  { features: [[0.5, -1, 0], [1, 1, 1]], picked: 1 },
  { features: [[0, 0, 1], [1, 0, 0], [0, 1, 0]], picked: 1 },
];

const near = (found, wanted, within = 1e-8) =>
  found.forEach((value, i) => assert.ok(Math.abs(value - wanted[i]) < within, `${found} is not ${wanted}`));

function pictures(count, size = 4) {
  const next = random(5);
  return Array.from({ length: count }, (_, i) => ({
    id: i.toString(16).padStart(16, "0"),
    features: Array.from({ length: size }, () => 4 * next() - 2),
  }));
}

const SUMMARY = { prior_mean: [0, 0, 0, 1.5], precision: [4, 4, 4, 1], answers: [], asked: 0 };

test("the weights and their doubt are those of the library", () => {
  const found = fit(ANSWERS, [0, 0, 1], [4, 4, 4]);
  near(found.mean, [0.30358797167989254, 0.011933235489004077, 0.998940841296414]);
  near(found.factor[2], [0.04786720857199416, 0.05797109455992522, 2.135933297110564]);
});

test("the information gain is the library's", () => {
  near([informationGain([[0, 1, 2], [1, 0, -1], [0.5, 0.5, 0.5]], [0, 1, 2])], [0.15691948], 1e-7);
});

test("what is no list of clicks is none", () => {
  for (const text of ["", "x", "[]", "{}", '{"version":2,"clicks":[]}', '{"version":1,"clicks":{}}']) {
    assert.deepEqual(parseClicks(text), []);
  }
  const clicks = [[["a", "b"], "a", "telling", 3]];
  assert.deepEqual(parseClicks(formatClicks(clicks)), clicks);
  assert.equal(formatClicks([]), "");
});

test("what the file has leaves the node, one cast since then stays", () => {
  const first = [["a", "b"], "a", "telling", 3];
  const second = [["a", "b"], "b", "telling", 4];
  assert.deepEqual(withoutKept([first, second], [first]), [second]);
});

test("a click on none, or on pictures that are not here, is no answer", () => {
  const rows = pictures(3);
  const [a, b] = rows.map((row) => row.id);
  assert.equal(answersOf([[[a, b], "", "telling", 1], [[a, "ff"], a, "telling", 2]], rows).length, 0);
  assert.equal(answersOf([[[a, b], b, "telling", 1]], rows)[0].picked, 1);
});

test("grids are of different pictures, one in seven is random or asked again, and fewer pictures make smaller grids", () => {
  const rows = pictures(40);
  const clicks = [];
  const kinds = [];
  for (let at = 0; at < 28; at += 1) {
    const grid = nextGrid({ rows, summary: SUMMARY, clicks });
    assert.equal(new Set(grid.shown).size, 6);
    kinds.push(grid.kind);
    clicks.push([grid.shown, grid.shown[0], grid.kind, at]);
  }
  assert.deepEqual([kinds[6], kinds[13], kinds[20], kinds[27]], ["random", "repeat", "random", "repeat"]);
  assert.equal(kinds.filter((kind) => kind === "telling").length, 24);
  const again = new Set(clicks[13][0]);
  assert.ok(clicks.slice(0, 13).some(([shown]) => shown.every((id) => again.has(id))));
  assert.equal(nextGrid({ rows: rows.slice(0, 2), summary: SUMMARY, clicks: [] }).shown.length, 2);
});

test("the same state asks the same grid", () => {
  const state = { rows: pictures(40), summary: SUMMARY, clicks: [] };
  assert.deepEqual(nextGrid(state), nextGrid(state));
});

test("clicks by a taste are learned: agreement rises, and the weight has its sign", () => {
  const rows = pictures(60);
  const clicks = [];
  const before = agreement({ rows, summary: SUMMARY, clicks });
  for (let at = 0; at < 30; at += 1) {
    const { shown, kind } = nextGrid({ rows, summary: SUMMARY, clicks });
    const liked = (id) => rows.find((row) => row.id === id).features[0];
    clicks.push([shown, shown.reduce((best, id) => (liked(id) > liked(best) ? id : best)), kind, at]);
  }
  const after = agreement({ rows, summary: SUMMARY, clicks });
  assert.ok(after.accuracy > before.accuracy, `${after.accuracy} ${before.accuracy}`);
  assert.ok(after.low <= after.accuracy && after.accuracy <= after.high);
  assert.ok(fit(answersOf(clicks, rows), SUMMARY.prior_mean, SUMMARY.precision).mean[0] > 0.5);
});

test("pictures that are all the same teach nothing and break nothing", () => {
  const rows = pictures(8).map((row) => ({ ...row, features: [1, 1, 1, 1] }));
  const state = { rows, summary: SUMMARY, clicks: [[rows.slice(0, 6).map((r) => r.id), rows[0].id, "telling", 1]] };
  assert.equal(nextGrid(state).shown.length, 6);
  assert.ok(Number.isFinite(agreement(state).accuracy));
});

test("the bar says how far it is, and stops asking", () => {
  assert.match(said(0, { own: 0.82, accuracy: 0.66, low: 0.6, high: 0.7 }).text, /only know what the crowd likes/);
  assert.match(said(5, { own: 0.82, accuracy: 0.7, low: 0.6, high: 0.8 }).text, /yourself 82%, I agree with you 70% \(60 to 80\); about 20 more/);
  assert.ok(said(60, { own: 0.75, accuracy: 0.853, low: 0.8, high: 0.9 }).done);
});
