// What the culling view knows, without a page: marks, what is shown in which order, and where it lies. Pure functions.

import { say, sayCount } from "../shared/words.js";

const MARK = /^([0-9a-f]{16}):([0-5])([xp]?)$/;
const MAX_MARKS = 4096; // as the node takes: MAX_MARKS in ranking/marks.py
const NONE = { stars: 0, rejected: false };
const HEAD = 34; // pixels of a prompt's heading

/**
 * What a widget's text holds: `marks` by picture id, { stars, rejected }, one without any too, and the `picks` among them.
 */
export function parseHand(text) {
  const [marks, picks] = [new Map(), new Set()];
  for (const word of String(text ?? "").split(/[\s,]+/)) {
    const found = MARK.exec(word);
    if (!found) continue;
    const [, id, stars, flag] = found;
    marks.delete(id); // so that the newest is the last
    marks.set(id, { stars: Number(stars), rejected: flag === "x" });
    if (flag === "p") picks.add(id);
    else picks.delete(id);
  }
  return { marks, picks };
}

/** Marks as a widget holds them, with these picks among them; of more than the node takes, the newest. */
export function formatMarks(marks, picks = new Set()) {
  const ids = new Set([...marks.keys(), ...picks]);
  const words = [...ids].map((id) => {
    const { stars, rejected } = markOf(marks, id);
    return `${id}:${stars}${rejected ? "x" : picks.has(id) ? "p" : ""}`;
  });
  return words.slice(-MAX_MARKS).join(",");
}

const carriedMark = ({ stars }) => ({ stars: Math.max(0, stars), rejected: stars < 0 });

/**
 * The marks and picks that hold for rows: a widget's own, over what the rows came with (`carried`).
 * @param {any[]} rows
 * @param {{marks: Map<string, any>, picks: Set<string>}} own
 */
export function held(rows, own) {
  const [marks, picks] = [new Map(), new Set(own.picks)];
  for (const [id, mark] of own.marks) setMark(marks, id, mark);
  for (const { id, carried } of rows) {
    if (!carried || own.marks.has(id)) continue;
    setMark(marks, id, carriedMark(carried));
    if (carried.picked) picks.add(id);
  }
  return { marks, picks };
}

/**
 * What a widget must hold so that these marks and picks hold: what differs from what the rows came with.
 * `own` is what it holds now.
 */
export function owned(rows, { marks, picks }, own) {
  const mine = { marks: new Map(marks), picks: new Set(picks) };
  const here = new Set(rows.map((row) => row.id));
  for (const [id, mark] of own.marks) if (!here.has(id) && !mine.marks.has(id)) mine.marks.set(id, mark);
  for (const { id, carried } of rows) {
    if (!carried) continue;
    const [mark, before] = [markOf(marks, id), carriedMark(carried)];
    mine.marks.delete(id);
    if (mark.stars !== before.stars || mark.rejected !== before.rejected || picks.has(id) !== carried.picked) {
      mine.marks.set(id, mark);
    } else mine.picks.delete(id);
  }
  return mine;
}

/** The mark of a picture. */
export function markOf(marks, id) {
  return marks.get(id) ?? NONE;
}

/** A mark as one number: 1 to 5, 0 without any, -1 rejected. */
export function ratingOf({ stars, rejected }) {
  return rejected ? -1 : stars;
}

/** Set a picture's mark; one that says nothing is none. */
export function setMark(marks, id, mark) {
  marks.delete(id); // so that the newest is the last
  if (mark.stars || mark.rejected) marks.set(id, mark);
}

/** Whether a filter lets a picture through: "all", "picked", "kept" (not rejected), "rejected", or at least so many stars. */
export function passes(filter, mark, picked) {
  if (filter === "picked") return picked;
  if (filter === "kept") return !mark.rejected;
  if (filter === "rejected") return mark.rejected;
  return filter === "all" || mark.stars >= filter;
}

/**
 * Places of the rows to show, in the order to show them.
 * `sort` is "rank" (the order they came in), "stars" or a column; `grouped` keeps a prompt's together, in the rows' order.
 */
export function shownPlaces(rows, { filter, sort, descending, grouped, marks, picks }) {
  const places = [...rows.keys()].filter((i) => passes(filter, markOf(marks, rows[i].id), picks.has(rows[i].id)));
  if (sort !== "rank") {
    const value = (i) => (sort === "stars" ? ratingOf(markOf(marks, rows[i].id)) : (rows[i].scores?.[sort] ?? -Infinity));
    places.sort((a, b) => (descending ? value(b) - value(a) : value(a) - value(b)) || a - b);
  } else if (!descending) {
    places.reverse();
  }
  if (!grouped) return places;
  const order = new Map();
  for (const row of rows) if (!order.has(row.prompt)) order.set(row.prompt, order.size);
  return places.sort((a, b) => order.get(rows[a].prompt) - order.get(rows[b].prompt));
}

/**
 * Where the pictures lie: `boxes` in the order shown, the prompts' `heads`, and what it is all made of, in pixels.
 * @param {(string | null)[]} prompts of the pictures shown; null where they have no headings
 * @param {{width: number, least: number, gap: number}} room the list's width and a picture's least side
 */
export function layout(prompts, { width, least, gap }) {
  const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  const side = Math.max(1, Math.floor((width - gap * (columns - 1)) / columns));
  const boxes = [];
  const heads = [];
  let top = 0;
  let column = 0;
  prompts.forEach((prompt, i) => {
    if (prompt !== null && prompt !== prompts[i - 1]) {
      if (column) top += side + gap;
      heads.push({ top, text: prompt });
      top += HEAD;
      column = 0;
    }
    boxes.push({ top, left: column * (side + gap) });
    column += 1;
    if (column === columns) {
      top += side + gap;
      column = 0;
    }
  });
  return { boxes, heads, side, columns, height: column ? top + side : Math.max(0, top - gap) };
}

/** The side of so many square pictures, in pixels, of which all fit into a room at once. */
export function fittedSide(count, width, height, gap) {
  for (let columns = 1; columns < count; columns += 1) {
    const side = Math.floor((width + gap) / columns) - gap;
    if (Math.ceil(count / columns) * (side + gap) <= height + gap) return side;
  }
  return Math.floor((width + gap) / Math.max(1, count)) - gap;
}

/** First place, and the place behind the last, of what lies between two heights: its `top` at least `from - size`. */
export function between(lying, from, to, size) {
  const first = (limit) => {
    let [low, high] = [0, lying.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lying[middle].top < limit) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return [first(from - size), first(to)];
}

/** Columns for some pictures at once, so that they are as large as they can be; of square ones. */
export function surveyColumns(count, width, height) {
  let best = 1;
  let size = 0;
  for (let columns = 1; columns <= count; columns += 1) {
    const side = Math.min(width / columns, height / Math.ceil(count / columns));
    if (side > size) [best, size] = [columns, side];
  }
  return best;
}

/** A mark in words. */
export function saidMark({ stars, rejected }, picked) {
  const parts = [];
  if (stars) parts.push(sayCount(stars, "{count} star", "{count} stars"));
  if (picked) parts.push(say("picked"));
  if (rejected) parts.push(say("rejected"));
  return parts.join(", ");
}
