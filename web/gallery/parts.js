// The gallery's parts as plain DOM: a picture's cell, what is known of it in words, and the controls above the list.

import { button, element } from "../shared/dom.js";
import { bucketWord, described, formatScore } from "./model.js";
import { say } from "../shared/words.js";

const BUCKETS = ["great", "ok", "bad"];
const SLIDER_STEPS = 200;

/**
 * A picture in the list.
 * @param {any} row
 * @param {{id: string, label: string, columns: string[], url: (entry: any) => string}} shown its element's id, the line
 *   below it, the columns of scores beside the main one, and where pictures are served
 */
export function cell(row, { id, label, columns, url }) {
  const picture = element("img", "tm-thumb", {
    attributes: { loading: "lazy", decoding: "async", alt: "", draggable: "false" },
  });
  if (row.thumb) picture.src = url(row.thumb);
  picture.addEventListener("error", () => picture.classList.add("tm-broken"));
  const frame = element("span", "tm-box", {
    children: [
      picture,
      element("span", "tm-marked"),
      element("span", "tm-check", { text: "\u2713", attributes: { "aria-hidden": "true" } }),
      element("span", "tm-zoom", { text: "\u2922", attributes: { title: say("Enlarge"), "aria-hidden": "true" } }),
    ],
  });
  return element("div", `tm-cell${row.rank === 1 ? " tm-first" : ""}${row.kept ? " tm-kept" : ""}`, {
    attributes: { role: "option", id, "aria-label": described(row), title: row.prompt ?? "" },
    children: [
      frame,
      element("span", "tm-rank", { text: `#${row.rank}` }),
      element("span", `tm-bucket tm-${BUCKETS.includes(row.bucket) ? row.bucket : "none"}`, { text: bucketWord(row.bucket) }),
      element("span", "tm-score", { text: formatScore(row.score) }),
      ...columns.map((name) => element("span", "tm-column", { text: formatScore(row.scores?.[name]) })),
      element("span", "tm-label", { text: label }),
    ],
  });
}

/** What is known of a picture, as elements in a line: rank and score, bucket, every column where there are several. */
export function facts(row) {
  const parts = [element("strong", "", { text: [row.rank && `#${row.rank}`, formatScore(row.score)].filter(Boolean).join(" ") })];
  if (row.bucket) parts.push(element("span", `tm-word tm-${row.bucket}`, { text: bucketWord(row.bucket) }));
  const scores = Object.entries(row.scores ?? {});
  const columns = scores.length > 1 ? scores.map(([name, value]) => `${name} ${formatScore(value)}`) : [];
  const seed = row.seed_text ? [say("seed {seed}", { seed: row.seed_text })] : [];
  const words = [...seed, row.name, ...columns].filter(Boolean);
  parts.push(...words.map((text) => element("span", "tm-dim", { text })));
  parts.push(element("span", "tm-prompt", { text: row.prompt ?? "" }));
  return parts;
}

/** A menu of what to sort by. */
export function sortBox(names, onChange) {
  return element("select", "tm-select", {
    attributes: { "aria-label": say("Sort by") },
    children: names.map((name) => element("option", "", { text: name === "rank" ? say("rank") : name, attributes: { value: name } })),
    on: { change: (event) => onChange(event.target.value) },
  });
}

/** A slider that hides what scores below it; `onChange` gets the score, null for all. */
export function thresholdSlider(low, high, onChange) {
  const value = element("output", "tm-value", { text: say("all") });
  const input = element("input", "tm-slider", {
    attributes: {
      type: "range", min: "0", max: String(SLIDER_STEPS), value: "0", "aria-label": say("Hide below this score"),
    },
  });
  input.addEventListener("input", () => {
    const step = Number(input.value);
    // the last step is the best score itself, whatever rounding says
    const score = step === SLIDER_STEPS ? high : low + ((high - low) * step) / SLIDER_STEPS;
    value.textContent = step === 0 ? say("all") : say("from {score}", { score: formatScore(score) });
    input.setAttribute("aria-valuetext", value.textContent);
    onChange(step === 0 ? null : score);
  });
  input.addEventListener("keydown", (event) => event.stopPropagation());
  input.disabled = low === high;
  return element("label", "tm-threshold", { children: [input, value] });
}

/** A button for each bucket that has pictures; `onToggle(name, hide)`. */
export function bucketChips(counts, onToggle) {
  return BUCKETS.filter((name) => counts[name]).map((name) => {
    const word = bucketWord(name);
    const label = say("Show or hide these pictures: {name}", { name: word });
    const chip = button(`tm-chip tm-${name}`, `${word} ${counts[name]}`, label, () => {
      const hide = chip.getAttribute("aria-pressed") === "true";
      chip.setAttribute("aria-pressed", String(!hide));
      onToggle(name, hide);
    });
    chip.setAttribute("aria-pressed", "true");
    return chip;
  });
}
