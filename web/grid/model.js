// What a grid's panel knows, without a page: what messages add up to, where a cell is, words. Pure functions.

import { formatScore } from "../gallery/model.js";

/** A mean with its interval, [value, reach]: "+0.512 \u00b1 0.103". */
export function withReach([value, reach]) {
  return typeof reach === "number" ? `${formatScore(value)} \u00b1 ${reach.toFixed(3)}` : formatScore(value);
}

/** What is known of a grid once a message has come. One with `axes` begins anew. */
export function merged(known, message) {
  const next = message.axes ? { ...message, pictures: message.shots.map(() => null) } : { ...known, ...message };
  if (!next.axes) return known; // the beginning was not heard
  if (!message.axes) next.pictures = [...known.pictures];
  for (const [place, entry] of message.made ?? []) next.pictures[place] = entry;
  delete next.made;
  return next;
}

/** [pages, rows, columns, pictures in a cell]. */
export function shape({ axes, variants }) {
  const [columns, rows, pages] = axes.map((axis) => axis.labels.length);
  return [pages, rows, columns, variants.length];
}

/** The number of a cell. */
export function cellAt(grid, page, row, column) {
  const [, rows, columns] = shape(grid);
  return (page * rows + row) * columns + column;
}

/** A value of an axis in words: "steps 20"; what names itself, as it is; empty for the axis that is none. */
export function valueWords({ setting, labels }, place) {
  if (setting === "none") return "";
  return setting === "model" || setting === "prompt" ? labels[place] : `${setting} ${labels[place]}`;
}

/** A cell in words. */
export function cellWords(grid, cell) {
  const [, rows, columns] = shape(grid);
  const places = [cell % columns, Math.floor(cell / columns) % rows, Math.floor(cell / (columns * rows))];
  return grid.axes.map((axis, at) => valueWords(axis, places[at])).filter(Boolean).join(", ");
}

/** Where a mean and its interval lie, in percent of what the axis's means and intervals reach over. */
export function positions(margins) {
  const ends = margins.flatMap(([value, reach]) => [value - (reach ?? 0), value + (reach ?? 0)]);
  const low = Math.min(...ends);
  const high = Math.max(...ends);
  const at = (value) => (high > low ? 4 + (92 * (value - low)) / (high - low) : 50);
  return margins.map(([value, reach]) => ({ at: at(value), from: at(value - (reach ?? 0)), to: at(value + (reach ?? 0)) }));
}

/** The place of the highest mean; -1 where there is no choice. */
export function highest(margins) {
  if (margins.length < 2) return -1;
  return margins.reduce((best, [value], place) => (value > margins[best][0] ? place : best), 0);
}

/** Where a key leads from [row, column] of a page; null for other keys. */
export function moved(key, [row, column], [, rows, columns]) {
  const within = (value, count) => Math.max(0, Math.min(count - 1, value));
  const steps = {
    ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1],
    ArrowUp: [row - 1, column],
    ArrowDown: [row + 1, column],
    Home: [row, 0],
    End: [row, columns - 1],
  };
  const to = steps[key];
  return to ? [within(to[0], rows), within(to[1], columns)] : null;
}

/**
 * The pictures that the large view goes through on one page, and which of them is a cell's first.
 * `variant` is a place in the cell, -1 for all of them.
 */
export function viewed(grid, page, variant, cell) {
  const [, rows, columns, inside] = shape(grid);
  const first = page * rows * columns;
  const shown = [];
  let start = 0;
  for (let at = first; at < first + rows * columns; at += 1) {
    if (at === cell) start = shown.length;
    for (let k = 0; k < inside; k += 1) if (variant < 0 || variant === k) shown.push(at * inside + k);
  }
  const order = (grid.scores ?? []).map((score, place) => [score, place]).sort((a, b) => b[0] - a[0]);
  const ranks = new Map(order.map(([, place], rank) => [place, rank + 1]));
  const row = (place) => {
    const [prompt, seed] = grid.shots[place];
    return {
      rank: ranks.get(place) ?? "",
      score: grid.scores?.[place],
      seed_text: grid.axes.some((axis) => axis.setting === "seed") ? "" : seed,
      name: cellWords(grid, Math.floor(place / inside)),
      prompt: grid.prompts[prompt],
      view: grid.pictures[place]?.view,
    };
  };
  return { rows: shown.map(row), start };
}
