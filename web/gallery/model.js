// What the gallery knows, without a page: picks, order, filters and words. Pure functions.

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

/** Where an arrow key leads from `place` of `count` pictures in rows of `columns`; null for other keys. */
export function moved(key, place, count, columns, page) {
  const steps = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    PageUp: -columns * page,
    PageDown: columns * page,
    Home: -count,
    End: count,
  };
  if (!(key in steps)) return null;
  const next = place + steps[key];
  if (key === "ArrowUp" && next < 0) return place;
  if (key === "ArrowDown" && next >= count) {
    const lastRow = Math.floor((count - 1) / columns);
    return Math.floor(place / columns) < lastRow ? count - 1 : place;
  }
  return Math.max(0, Math.min(count - 1, next));
}

/** A row in words, for a screen reader and for tooltips. */
export function described(row) {
  const parts = [`Rank ${row.rank}`, `score ${formatScore(row.score)}`];
  if (row.bucket) parts.push(row.bucket);
  if (row.kept) parts.push("kept");
  if (row.seed_text) parts.push(`seed ${row.seed_text}`);
  if (row.name) parts.push(row.name);
  if (row.prompt) parts.push(row.prompt);
  return parts.join(", ");
}
