// Words and figures of a training run, without a page. Pure functions.

import { say, sayState } from "../shared/words.js";

/**
 * What is known of a run once a message has come, for one that says only what is new: its rows and grids go behind
 * those of the first `since` epochs. `missing` says that the page has not heard of all of them.
 */
export function joined(before, message) {
  const since = message.since ?? 0;
  if (!message.rows || !since) return { ...before, ...message };
  const rows = [...(before?.rows ?? []).slice(0, since), ...message.rows];
  const grids = [...(before?.grids ?? []).filter(({ epoch }) => epoch <= since), ...message.grids];
  return { ...before, ...message, rows, grids, missing: rows.length < since + message.rows.length };
}

/** The rows of a run's metrics.jsonl; a last line that is not whole yet is left out. */
export function rowsOf(text) {
  return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

/** Seconds as words; nothing for none. */
export function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return say("{count} s left", { count: Math.max(1, Math.round(seconds)) });
  return say("{count} min left", { count: Math.round(seconds / 60) });
}

/** The line above the curves, of a message {state, epoch, epochs, seconds_left}. */
export function statusLine({ state, epoch, epochs, seconds_left: left }) {
  return [sayState(state), epochs ? say("epoch {epoch} of {epochs}", { epoch, epochs }) : "", timeLeft(left)].filter(Boolean).join("  \u00b7  ");
}

/** The line once a run was stopped from outside: `rows` are the epochs that are finished and kept. */
export function stoppedLine(rows, epochs) {
  const kept = rows.length;
  const done = epochs ? say("epoch {epoch} of {epochs} is finished", { epoch: kept, epochs }) : "";
  return [say("stopped"), done, say("Run goes on from there")].filter(Boolean).join("  \u00b7  ");
}

/**
 * What comparisons with the untrained model say, as {title, values}: the gain of each reward in standard deviations of
 * the untrained model's scores, watched ones too, and diversity within a prompt in percent of its.
 */
export function comparisons(rows) {
  const found = rows.map((row) => row.evaluation ?? null);
  const names = [...new Set(found.flatMap((one) => Object.keys(one?.rewards ?? {})))];
  const lines = names.map((name) => ({ title: gainTitle(name), values: found.map((one) => one?.rewards[name]?.gain_in_base_std) }));
  const share = (one) => (one?.diversity_base > 0 ? (100 * one.diversity_tuned) / one.diversity_base : undefined);
  if (found.some((one) => share(one) !== undefined)) lines.push({ title: say("diversity, %"), values: found.map(share) });
  return lines;
}

function gainTitle(name) {
  return name.startsWith("watched: ") ? name : say("gain: {name}", { name });
}

/** The epoch that the guard keeps by the newest comparison, from 1 (0: the untrained model); null where none says. */
export function keptEpoch(rows) {
  const said = rows.map((row) => row.evaluation?.kept_epoch).filter((kept) => Number.isInteger(kept));
  return said.length ? said[said.length - 1] : null;
}

/** What is kept, in words, where that is not the last epoch. */
export function keptLine(rows) {
  const kept = keptEpoch(rows);
  if (kept === null || kept === rows.length) return "";
  return kept === 0 ? say("best so far: the untrained model") : say("best so far: epoch {epoch}, marked", { epoch: kept });
}

/** The share of pairs that were not learned from and are seen as people see them, of a run that has such pairs. */
export function heldOut(row) {
  return row.evaluation?.accuracy;
}
