// What the Vote node shows: the question, how far the voter is, and the way into the booth.

import { addStyle, button, element } from "../shared/dom.js";
import { Booth } from "./booth.js";
import { choices, withoutStored } from "./model.js";
import { say, sayCount } from "../shared/words.js";

/**
 * The panel of one node, in `container`.
 * `host` gives: `votes()`, `setVotes(list)`, `url(entry)`, `run()`.
 */
export class VotePanel {
  constructor(container, host) {
    addStyle(new URL("./vote.css", import.meta.url).href);
    this.host = host;
    this.rows = [];
    this.summary = {};
    this.booth = new Booth({
      rows: () => this.rows,
      summary: () => this.summary,
      votes: () => host.votes(),
      setVotes: (votes) => {
        host.setVotes(votes);
        this.draw();
      },
      url: (entry) => host.url(entry),
      store: () => host.run(),
      closed: () => this.enter.focus({ preventScroll: true }),
    });
    this.question = element("div", "tmv-question");
    this.status = element("div", "tmv-status", { attributes: { role: "status" } });
    this.bar = element("progress", "tmv-bar", { attributes: { "aria-label": say("Pairs voted on"), max: "1", value: "0" } });
    this.notes = element("ul", "tmv-notes");
    this.enter = button("tm-command tm-main", say("Vote"), say("Vote on the pairs (Alt+V)"), () => this.open());
    this.save = button("tm-command", say("Store votes"), say("Run the graph, which stores the votes"), () => host.run());
    const buttons = element("div", "tm-commands", { children: [this.enter, this.save] });
    container.replaceChildren(this.question, this.status, this.bar, buttons, this.notes);
    for (const kind of ["pointerdown", "wheel"]) {
      container.addEventListener(kind, (event) => event.stopPropagation());
    }
    this.draw();
  }

  /** A run's pairs, and what it said. What the study has stored now leaves the node. */
  show(rows, summary = {}) {
    this.rows = rows;
    this.summary = summary;
    const votes = this.host.votes();
    const left = withoutStored(votes, summary.kept ?? []);
    if (left.length !== votes.length) this.host.setVotes(left);
    if (this.booth.dialog.open) this.booth.draw();
    this.draw();
  }

  open() {
    this.booth.open();
  }

  draw() {
    const there = this.rows.length > 0;
    const given = choices(this.rows, this.host.votes());
    const done = given.filter(Boolean).length;
    const unsaved = this.host.votes().length;
    this.question.textContent = there ? this.summary.question ?? "" : say("Run the graph to get the pairs.");
    const parts = there ? [say("{done} of {all} voted", { done, all: this.rows.length })] : [];
    if (unsaved) parts.push(sayCount(unsaved, "{count} not stored yet: run the graph", "{count} not stored yet: run the graph"));
    this.status.textContent = parts.join("  \u00b7  ");
    this.bar.max = Math.max(1, this.rows.length);
    this.bar.value = done;
    this.enter.disabled = !there;
    const all = there && done === this.rows.length;
    this.enter.textContent = all ? say("Voted on all") : done ? say("Go on voting") : say("Vote");
    this.save.disabled = !unsaved;
    const notes = this.summary.notes ?? [];
    this.notes.replaceChildren(...notes.map((text) => element("li", "", { text })));
    this.notes.hidden = !notes.length;
  }
}
