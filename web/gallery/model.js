// What the gallery knows, without a page: picks, order, filters and words. Pure functions.

import { say } from "../shared/words.js";

const ID = /^[0-9a-f]{16}$/;

/** The ids in a picks widget, as a set. */
export function parsePicks(text) {
  return new Set(String(text ?? "").split(/[\s,]+/).filter((word) => ID.test(word)));
}

/** A set of ids as the widget holds them. */
export function formatPicks(picks) {
  return [...picks].join(",");
}

/** A score with its sign and three digits; a minus as wide as the plus. */
export function formatScore(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "";
  const text = Math.abs(value).toFixed(3);
  if (Number(text) === 0) return text;
  return `${value > 0 ? "+" : "\u2212"}${text}`;
}

/** Lowest and highest score of some rows. */
export function scoreRange(rows) {
  const scores = rows.map((row) => row.score).filter(Number.isFinite);
  return scores.length ? [Math.min(...scores), Math.max(...scores)] : [0, 0];
}

/**
 * Places of the rows to show, in the order to show them.
 * `sort` is "rank" (the order they came in) or a column's name; equal values keep their order.
 */
export function arranged(rows, { sort, descending, threshold, hidden, onlyPicked, picks }) {
  const places = rows
    .map((_, place) => place)
    .filter((place) => {
      const row = rows[place];
      if (threshold !== null && row.score < threshold) return false;
      if (onlyPicked && !picks.has(row.id)) return false;
      return !hidden.has(row.bucket);
    });
  if (sort === "rank") return descending ? places : places.reverse();
  const value = (place) => rows[place].scores?.[sort] ?? -Infinity;
  return places.sort((a, b) => (descending ? value(b) - value(a) : value(a) - value(b)) || a - b);
}

/**
 * Where a key leads from `place` of some pictures; null for other keys.
 * `boxes` are their corners in the order shown, `{ top, left }`: a new top begins a row. Up and down lead to the nearest
 * picture of the row there, Page Up and Page Down `page` rows on.
 */
export function moved(key, place, boxes, page) {
  const last = boxes.length - 1;
  const within = (index, end) => Math.max(0, Math.min(end, index));
  const along = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last };
  if (key in along) return within(along[key], last);
  const down = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page };
  if (!(key in down)) return null;
  const { top, left } = boxes[place];
  const tops = [...new Set(boxes.map((box) => box.top))];
  const row = within(tops.indexOf(top) + down[key], tops.length - 1);
  const away = (index) => Math.abs(boxes[index].left - left);
  const there = [...boxes.keys()].filter((index) => boxes[index].top === tops[row]);
  return there.reduce((nearest, index) => (away(index) < away(nearest) ? index : nearest));
}

/** What the page calls a bucket. */
export function bucketWord(bucket) {
  return { great: say("great"), ok: say("ok"), bad: say("bad") }[bucket] ?? bucket ?? "";
}

/** A row in words, for a screen reader and for tooltips. */
export function described(row) {
  const parts = [row.rank ? say("Rank {rank}", { rank: row.rank }) : say("Picture {number}", { number: row.number })];
  if (formatScore(row.score)) parts.push(say("score {score}", { score: formatScore(row.score) }));
  if (row.bucket) parts.push(bucketWord(row.bucket));
  if (row.kept) parts.push(say("kept"));
  if (row.seed_text) parts.push(say("seed {seed}", { seed: row.seed_text }));
  if (row.name) parts.push(row.name);
  if (row.prompt) parts.push(row.prompt);
  return parts.join(", ");
}
