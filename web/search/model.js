// What a search has told, as one state; and where the pictures of its family tree stand. No DOM.

import { say } from "../shared/words.js";

export const CELL = 52; // pixels from one picture to the next
const ROW = 74; // and from one look to the next

/** A message of a run, merged into what is known of it. */
export function merged(known, message) {
  if (message.looks) return message; // the whole of it, at the end
  const fresh = !known || message.state === "starting";
  const state = fresh ? { looks: message.prompts.map(() => []) } : { ...known };
  state.node = message.node;
  state.prompts = message.prompts;
  state.state = message.state;
  if (message.look) {
    state.looks = state.looks.map((rows, i) => (i === message.prompt ? [...rows, message.look] : rows));
    state.prompt = message.prompt;
  }
  return state;
}

/**
 * Where a prompt's pictures stand: a row for each look, a child near below its parent.
 * @returns {{cells: {x: number, y: number, entry: any, score: number, alive: boolean, best: boolean, finished: boolean}[],
 *   lines: [number, number, number, number][], rows: {y: number, text: string}[], width: number, height: number}}
 */
export function tree(looks) {
  const places = new Map(); // a picture's number -> [x, y]
  const cells = [];
  const lines = [];
  const rows = [];
  let width = 0;
  looks.forEach((look, row) => {
    const y = row * ROW;
    const { step, steps } = look;
    const text = step === steps ? say("finished") : step === 0 ? say("drafts") : say("step {step} of {steps}", { step, steps });
    rows.push({ y, text: look.more ? `${text}, ${say("{count} more", { count: look.more })}` : text });
    look.pictures.forEach((entry, i) => {
      const x = i * CELL;
      places.set(look.first + i, [x, y]);
      const parent = places.get(look.parents[i]);
      if (parent) lines.push([parent[0], parent[1], x, y]);
      cells.push({ x, y, entry, score: look.scores[i], alive: look.alive[i], best: false, finished: step === steps });
    });
    width = Math.max(width, look.pictures.length * CELL);
  });
  const finished = cells.filter((cell) => cell.finished);
  if (finished.length) finished.reduce((a, b) => (b.score > a.score ? b : a)).best = true;
  return { cells, lines, rows, width, height: looks.length * ROW };
}
