// What the Learn Taste node shows: the grid, how well it knows its person, and the way into the large view.

import { addStyle, button, element } from "../shared/dom.js";
import { agreement, nextGrid, said, withoutKept } from "./model.js";
import { GridView } from "./view.js";
import { say, sayCount } from "../shared/words.js";

const NOTHING = { text: "", done: false };

/**
 * The panel of one node, in `container`.
 * `host` gives: `clicks()`, `setClicks(list)`, `url(entry)`, `run()`, `now()`, `cull` (a button that it puts beside its own).
 */
export class TastePanel {
  constructor(container, host) {
    addStyle(new URL("./taste.css", import.meta.url).href);
    this.host = host;
    this.rows = [];
    this.byId = new Map();
    this.summary = {};
    this.grid = null;
    this.bar = NOTHING;
    this.view = new GridView({
      grid: () => this.grid,
      answer: (place) => this.answer(place),
      undo: () => this.undo(),
      said: () => ({ ...this.bar, clicks: this.clicked(), undoable: host.clicks().length > 0 }),
      entry: (id) => this.byId.get(id),
      url: (entry) => host.url(entry),
      store: () => host.run(),
      closed: () => this.draw(),
    });
    this.status = element("div", "tmt-status", { attributes: { role: "status" } });
    this.said = element("div", "tmt-said");
    this.small = element("div", "tmt-grid tmt-small");
    this.learned = element("img", "tmt-learned", { attributes: { alt: say("What was learned"), draggable: "false" } });
    this.learned.hidden = true;
    this.notes = element("ul", "tmt-notes");
    this.enter = button("tm-command tm-main", say("Teach"), say("Pick the best of six, over the whole page (Alt+T)"), () =>
      this.view.open(),
    );
    this.save = button("tm-command", say("Store clicks"), say("Run the graph, which stores the clicks"), () => host.run());
    this.back = button("tm-command", say("Undo"), say("Take the last click back"), () => this.undo());
    const buttons = element("div", "tm-commands", { children: [this.enter, this.save, this.back] });
    const top = element("div", "tmt-top", { children: [this.status, host.cull] });
    container.replaceChildren(top, this.said, this.small, buttons, this.notes, this.learned);
    for (const kind of ["pointerdown", "wheel"]) {
      container.addEventListener(kind, (event) => event.stopPropagation());
    }
    this.draw();
  }

  clicked() {
    return (this.summary.answers?.length ?? 0) + this.host.clicks().filter(([, picked]) => picked).length;
  }

  state() {
    return { rows: this.rows, summary: this.summary, clicks: this.host.clicks() };
  }

  /** A run's pictures, and what is stored. What the taste's file has now leaves the node. */
  show(rows, summary = {}, picture = null) {
    this.rows = rows;
    this.byId = new Map(rows.map((row) => [row.id, row]));
    this.summary = summary;
    this.learned.hidden = !picture || !summary.answers?.length; // before the first stored click it says nothing
    if (!this.learned.hidden) this.learned.src = this.host.url(picture);
    const clicks = this.host.clicks();
    const left = withoutKept(clicks, summary.kept ?? []);
    if (left.length !== clicks.length) this.host.setClicks(left);
    this.choose();
    this.draw();
    if (this.view.dialog.open) this.view.draw();
  }

  /** The next grid, and its pictures fetched; the bar follows when the page is idle. */
  choose() {
    if (this.rows.length < 2) return;
    this.grid = nextGrid(this.state());
    this.fetched = this.grid.shown.map((id) => {
      const picture = new Image();
      picture.src = this.host.url(this.byId.get(id)?.small);
      return picture;
    });
    const later = window.requestIdleCallback ?? ((work) => setTimeout(work, 30));
    later(() => {
      this.bar = said(this.clicked(), agreement(this.state()));
      this.draw();
      if (this.view.dialog.open) {
        this.view.said.textContent = this.bar.text;
      }
    });
  }

  answer(place) {
    if (!this.grid) return;
    const { shown, kind } = this.grid;
    const clicks = this.host.clicks();
    const at = Math.max(this.host.now(), (clicks.at(-1)?.[3] ?? 0) + 1);
    this.host.setClicks([...clicks, [shown, place < 0 ? "" : shown[place], kind, at]]);
    this.choose();
    this.draw();
  }

  undo() {
    const clicks = this.host.clicks();
    const last = clicks.at(-1);
    if (!last) return;
    this.host.setClicks(clicks.slice(0, -1));
    this.choose();
    if (last[0].every((id) => this.byId.has(id))) this.grid = { shown: last[0], kind: last[2] }; // the same question again
    this.draw();
  }

  draw() {
    const there = this.rows.length > 1;
    const unsaved = this.host.clicks().length;
    const parts = [there ? sayCount(this.clicked(), "{count} click", "{count} clicks") : say("Run the graph to get the pictures.")];
    if (unsaved) parts.push(sayCount(unsaved, "{count} not stored yet: run the graph", "{count} not stored yet: run the graph"));
    this.status.textContent = parts.join("  \u00b7  ");
    this.said.textContent = there ? this.bar.text : "";
    this.small.hidden = !there;
    this.small.replaceChildren(...(there && this.grid ? this.grid.shown.map((id, place) => this.view.cell(id, place)) : []));
    this.enter.disabled = !there;
    this.save.disabled = !unsaved;
    this.back.disabled = !unsaved;
    const notes = this.summary.notes ?? [];
    this.notes.replaceChildren(...notes.map((text) => element("li", "", { text })));
    this.notes.hidden = !notes.length;
  }
}
