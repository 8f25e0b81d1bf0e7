// Words and figures of a training run, without a page. Pure functions.

/** Seconds as words; nothing for none. */
export function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s left`;
  return `${Math.round(seconds / 60)} min left`;
}

/** The line above the curves, of a message {state, epoch, epochs, seconds_left}. */
export function statusLine({ state, epoch, epochs, seconds_left: left }) {
  return [state, epochs ? `epoch ${epoch} of ${epochs}` : "", timeLeft(left)].filter(Boolean).join("  \u00b7  ");
}

/** The line once a run was stopped from outside: `rows` are the epochs that are finished and kept. */
export function stoppedLine(rows, epochs) {
  const kept = rows.length;
  const done = epochs ? `epoch ${kept} of ${epochs} is finished` : "";
  return ["stopped", done, "Run goes on from there"].filter(Boolean).join("  \u00b7  ");
}

/** The figure that the comparison with the untrained model is about: of the watched reward, else of the first one. */
export function compared(row) {
  const rewards = Object.entries(row.evaluation?.rewards ?? {});
  const [, figures] = rewards.find(([name]) => name.startsWith("watched: ")) ?? rewards[0] ?? [];
  return figures?.tuned;
}

/** The share of pairs that were not learned from and are seen as people see them, of a run that has such pairs. */
export function heldOut(row) {
  return row.evaluation?.accuracy;
}
