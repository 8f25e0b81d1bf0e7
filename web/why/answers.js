// Why pictures scored as they did, as Why This Score said it, for every view of the page.

import { button, element } from "../shared/dom.js";
import { formatScore } from "../gallery/model.js";
import { say } from "../shared/words.js";

const MOST = 500; // pictures: the oldest answers go
const answers = new Map(); // picture id -> {fellows, parts: [{reward, score, usual, heat, reasons: [{words, effect}]}]}
const listeners = new Set();

/** Take a run's answers. */
export function learnAnswers(rows) {
  for (const row of rows) {
    answers.delete(row.id);
    answers.set(row.id, row);
  }
  for (const id of answers.keys()) {
    if (answers.size <= MOST) break;
    answers.delete(id);
  }
  for (const listener of [...listeners]) listener(rows);
}

/** Say to every view why nothing is answered: a page's own message lies behind an open view. */
export function learnTrouble(text) {
  for (const listener of [...listeners]) listener([], text);
}

/**
 * What is known of a row's picture; undefined where nothing is, and where the row has another score of that reward by now:
 * its prompt has changed, or the reward's file.
 */
export function answerOf(row) {
  const answer = answers.get(row?.id);
  const holds = ({ reward, score, usual }) => usual === null || Math.abs((row.scores?.[reward] ?? NaN) - score) < 1e-4;
  return answer?.parts.every(holds) ? answer : undefined;
}

/** Be told of new answers, or of what went wrong, until the function that comes back is called. */
export function onAnswers(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whose map comes after the `heat`-th: 0, 1, ... for each reward, then null for the picture itself. */
export function nextHeat(heat, answer) {
  const next = heat === null ? 0 : heat + 1;
  return next < (answer?.parts.length ?? 0) ? next : null;
}

/** The map of a picture that is shown in place of it; null for the picture itself. */
export function heatOf(row, heat) {
  return heat === null ? null : (answerOf(row)?.parts[heat]?.heat ?? null);
}

/** A reason as a line: an arrow, what the picture is, and by how much that moved its score. */
export function saidReason({ words, effect }) {
  return `${effect > 0 ? "\u25b2" : "\u25bc"} ${words} ${formatScore(effect)}`;
}

/** An answer as elements: each reward, and what raised and lowered its score. */
export function answerParts(answer) {
  return answer.parts.map(({ reward, score, usual, reasons }) => {
    const more = say("{score} against the mean of its {count} pictures", {
      score: formatScore(score - usual),
      count: answer.fellows,
    });
    const over = usual === null ? "" : more;
    const lines = reasons.map((one) =>
      element("li", one.effect > 0 ? "tmw-up" : "tmw-down", { text: saidReason(one) }),
    );
    if (!lines.length) lines.push(element("li", "tmw-none", { text: say("Nothing that has a name moved it.") }));
    return element("div", "tmw-part", {
      children: [
        element("div", "tmw-reward", { children: [element("span", "", { text: reward }), element("b", "", { text: formatScore(score) })] }),
        element("div", "tmw-over", { text: over }),
        element("ul", "", { children: lines }),
      ],
    });
  });
}

/**
 * What a view says of why: the answer with a button for its map, or a button that asks.
 * @param {{row: any, heat: number | null, ask: (() => void) | null, toggle: () => void}} shown
 */
export function whySection({ row, heat, ask, toggle }) {
  const answer = answerOf(row);
  const children = answer ? answerParts(answer) : [];
  if (answer) {
    const word = heat === null ? say("Where (H)") : say("Picture (H)");
    const where = button("tmc-button", word, say("Show where the score comes from (H)"), toggle);
    where.setAttribute("aria-pressed", String(heat !== null));
    children.push(where);
    const how = say(
      "The picture was scored again with only this made as usual among its pictures: so much it raised or lowered the score.",
    );
    children.push(element("p", "tmw-how", { text: how }));
  } else if (ask && row.id) {
    children.push(button("tmc-button", say("Why this score? (W)"), say("Say what raised and lowered its score (W)"), ask));
  }
  return element("section", "tmw-why", { attributes: { "aria-label": say("Why this score") }, children });
}
