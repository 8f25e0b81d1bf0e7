// The culling view on a node that ranks nothing: its button, and the widget that keeps stars, picks and rejections.

import { app } from "../../../scripts/app.js";
import { button } from "../shared/dom.js";
import { address, hiddenWidget, setWidget } from "../shared/widgets.js";
import { say, sayNumber } from "../shared/words.js";
import { askWhy } from "../why/ask.js";
import { formatMarks, held, markOf, parseHand, ratingOf } from "./model.js";
import { CullView } from "./view.js";

/** A node's culling view. `element` is the button that opens it, out of sight until there are pictures. */
export class Culling {
  constructor(node) {
    const marks = hiddenWidget(node, "marks");
    this.rows = [];
    this.summary = {};
    this.own = () => parseHand(marks?.value);
    this.element = button("tm-command", say("Cull"), say("Look through all pictures over the whole window (F)"), () => this.open());
    this.element.hidden = true;
    this.view = new CullView({
      rows: () => this.rows,
      summary: () => this.summary,
      url: address,
      own: this.own,
      write: ({ marks: own, picks }) => {
        const text = formatMarks(own, picks);
        if (marks && marks.value !== text) setWidget(marks, text);
        node.graph?.setDirtyCanvas?.(true, true);
      },
      run: () => app.queuePrompt(0),
      why: (ids) => askWhy(node, ids),
      closed: () => {
        this.draw();
        this.element.focus({ preventScroll: true });
      },
    });
  }

  /** Open it by F anywhere in the node's panel. */
  listen(panel) {
    panel.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "f" || event.ctrlKey || event.metaKey || event.altKey) return;
      event.stopPropagation();
      event.preventDefault();
      this.open();
    });
    this.element.addEventListener("pointerdown", (event) => event.stopPropagation());
  }

  open() {
    this.view.open();
  }

  close() {
    this.view.close();
  }

  /** Take a run's pictures. */
  show(message) {
    this.rows = (message.tastemaker_cull ?? []).map((row, i) => ({ ...row, number: i + 1 }));
    this.summary = message.tastemaker_summary?.[0] ?? {};
    this.draw();
    this.view.renew();
  }

  /** How many there are, and whether what was marked has gone on. */
  draw() {
    this.element.hidden = !this.rows.length;
    const { marks, picks } = held(this.rows, this.own());
    const sent = this.rows.every(
      (row) => ratingOf(markOf(marks, row.id)) === (row.stars ?? 0) && picks.has(row.id) === Boolean(row.picked),
    );
    const words = say("Cull {count}", { count: sayNumber(this.rows.length) });
    this.element.textContent = sent ? words : `${words} \u00b7 ${say("to send on")}`;
  }
}
