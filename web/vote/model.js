// Votes in the page, without a page: the widget's text, what counts, where to go next. Pure functions.
// A vote is [token, choice, milliseconds]; "none" takes one back. The node reads exactly this: parse_votes in evaluation/votes/votes.py.

export const RETRACTED = "none";

/** The votes in the widget's text, in the order they were cast; what is no list of votes is none. */
export function parseVotes(text) {
  try {
    const found = JSON.parse(text);
    if (found?.version !== 1 || !Array.isArray(found.votes)) return [];
    return found.votes.filter(
      (vote) => Array.isArray(vote) && vote.length === 3 && typeof vote[0] === "string" && Number.isFinite(vote[2]),
    );
  } catch {
    return [];
  }
}

/** Votes as the widget holds them. */
export function formatVotes(votes) {
  return votes.length ? JSON.stringify({ version: 1, votes }) : "";
}

/** The votes with one more, in place of an earlier one on the same pair; always later than what is stored. */
export function withVote(votes, row, choice, now) {
  const earlier = votes.find(([token]) => token === row.token);
  const at = Math.max(Math.round(now), (row.at ?? 0) + 1, (earlier?.[2] ?? 0) + 1);
  return [...votes.filter(([token]) => token !== row.token), [row.token, choice, at]];
}

/** The votes without those that the study has now; one cast since then stays. */
export function withoutStored(votes, kept) {
  const done = new Set(kept.map((vote) => JSON.stringify(vote)));
  return votes.filter((vote) => !done.has(JSON.stringify(vote)));
}

/** For each row what counts and since when: the later of the node's vote and the stored one; "" for none. */
function counted(rows, votes) {
  const cast = new Map(votes.map((vote, order) => [vote[0], { choice: vote[1], at: vote[2], order }]));
  return rows.map((row) => {
    const stored = { choice: row.vote || "", at: row.at ?? 0, order: -1 };
    const vote = cast.get(row.token);
    if (!vote || vote.at < stored.at) return stored;
    return { ...vote, choice: vote.choice === RETRACTED ? "" : vote.choice };
  });
}

/** The choice that counts for each row, "" for none. */
export function choices(rows, votes) {
  return counted(rows, votes).map(({ choice }) => choice);
}

/** The place of the next row without a vote, from `place` on and then from the start; -1 when all have one. */
export function nextOpen(given, place) {
  for (let step = 0; step < given.length; step += 1) {
    const here = (place + step) % given.length;
    if (!given[here]) return here;
  }
  return -1;
}

/** The place of the row voted on last, stored or not; -1 for none. */
export function lastVoted(rows, votes) {
  let last = -1;
  const found = counted(rows, votes);
  found.forEach(({ choice, at, order }, place) => {
    if (!choice) return;
    const best = found[last];
    if (last < 0 || at > best.at || (at === best.at && order > best.order)) last = place;
  });
  return last;
}
