// The gallery on the Rank node: sorted thumbnails to walk, filter, compare and pick from.

import { held, markOf, owned, ratingOf, saidMark } from "../cull/model.js";
import { CullView } from "../cull/view.js";
import { addStyle, button, element } from "../shared/dom.js";
import { arranged, described, formatScore, moved, scoreRange } from "./model.js";
import { bucketChips, cell, facts, sortBox, thresholdSlider } from "./parts.js";
import { Viewer } from "./viewer.js";
import { say, sayCount } from "../shared/words.js";
import { answerOf, saidReason } from "../why/answers.js";

let galleries = 0;

/**
 * A gallery in `container`.
 * `host` gives: `url(entry)`, `own()` and `write(own)` (what the widgets hold: marks by picture id, and picks), `run()`,
 * `why(ids)` (asks why they scored so), `view()` and `setView(name)` (what the workflow remembers).
 */
export class Gallery {
  constructor(container, host) {
    addStyle(new URL("./gallery.css", import.meta.url).href);
    this.container = container;
    this.host = host;
    this.prefix = `tastemaker-${++galleries}`;
    this.all = [];
    this.rows = [];
    this.summary = {};
    this.cells = [];
    this.shown = [];
    this.active = 0;
    this.filter = { sort: "rank", descending: true, threshold: null, hidden: new Set(), onlyPicked: false };
    this.viewer = new Viewer({
      rows: () => this.shown.map((place) => this.rows[place]),
      url: (entry) => host.url(entry),
      isPicked: (row) => this.hand().picks.has(row.id),
      toggle: (row) => this.toggle(row),
      why: (row) => host.why([row.id]),
      moved: (index) => this.activate(index),
      closed: () => this.list.focus({ preventScroll: true }),
    });
    this.cull = new CullView({
      rows: () => this.all,
      summary: () => this.summary,
      url: (entry) => host.url(entry),
      own: () => host.own(),
      write: (own) => host.write(own),
      run: () => host.run(),
      why: (ids) => host.why(ids),
      closed: () => {
        if (this.filter.onlyPicked) this.arrange();
        else this.drawPicks(); // to lay hundreds of cells out again takes a tenth of a second
        this.list.focus({ preventScroll: true });
      },
    });
    this.build();
  }

  build() {
    this.title = element("div", "tm-title tm-empty", { text: say("Run the graph to see the ranking.") });
    this.notes = element("ul", "tm-notes", { attributes: { role: "status" } });
    this.tools = element("div", "tm-tools");
    this.head = element("div", "tm-head");
    this.list = element("div", "tm-list", {
      attributes: { role: "listbox", tabindex: "0", "aria-multiselectable": "true", "aria-label": say("Ranked pictures") },
      on: {
        keydown: (event) => this.key(event),
        click: (event) => this.click(event),
        pointerover: (event) => this.tellWhy(event),
        dblclick: (event) => this.placeOf(event) !== null && this.open(),
        scroll: () => {
          this.head.scrollLeft = this.list.scrollLeft;
        },
      },
    });
    this.agreement = element("div", "tm-agreement", { attributes: { title: say("1: the same order. -1: the reverse. 0: unrelated.") } });
    this.details = element("div", "tm-details");
    this.bottom = this.buildBottom();
    this.container.replaceChildren(
      this.title, this.notes, this.tools, this.agreement, this.head, this.list, this.details, this.bottom,
    );
    this.setEmpty(true);
    this.container.dataset.captureWheel = "true"; // the wheel scrolls the list, not the canvas
    for (const kind of ["pointerdown", "wheel"]) {
      this.container.addEventListener(kind, (event) => event.stopPropagation());
    }
  }

  /** The row below the list. Its buttons stay the same ones, so that none takes the keyboard's focus along. */
  buildBottom() {
    this.said = element("span");
    this.onlyButton = button("tm-button", say("Only picked"), say("Show only what is picked"), () => {
      this.filter.onlyPicked = !this.filter.onlyPicked;
      this.arrange();
    });
    this.sendButton = button("tm-command tm-main", "", say("Send the picked pictures on: run the graph"), () =>
      this.host.run(),
    );
    this.clearButton = button("tm-button", say("Clear"), say("Clear all picks"), () => this.clear());
    const compare = button("tm-button", say("Compare"), say("Compare two side by side (C)"), () => this.compare());
    return element("div", "tm-bottom", {
      children: [this.said, element("span", "tm-space"), this.sendButton, this.onlyButton, this.clearButton, compare],
    });
  }

  setEmpty(empty) {
    const parts = [this.notes, this.tools, this.agreement, this.head, this.list, this.details, this.bottom];
    for (const part of parts) part.hidden = empty;
  }

  /** Show a run's rows and what it said about them. */
  show(rows, summary = {}, sheet = null) {
    const said = JSON.stringify([rows, summary, sheet]);
    if (said === this.saidBefore) return; // a run that changed nothing here: whoever looks at a picture goes on looking
    this.saidBefore = said;
    this.viewer.close();
    this.all = rows;
    rows = rows.slice(0, summary.shown); // all of them are in the culling view
    this.rows = rows;
    this.summary = summary;
    this.sheet = sheet;
    const [low, high] = scoreRange(rows);
    this.low = low;
    this.high = high;
    this.several = summary.group_by === "prompt" && new Set(rows.map((row) => row.prompt)).size > 1;
    this.oneText = new Set(rows.map((row) => row.prompt)).size <= 1;
    this.columns = summary.columns ?? Object.keys(rows[0]?.scores ?? {});
    this.others = this.columns.filter((name) => name !== summary.main); // the main one is the score itself
    this.filter = { sort: "rank", descending: true, threshold: null, hidden: new Set(), onlyPicked: false };
    this.active = 0;
    this.setEmpty(!rows.length);
    this.cells = rows.map((row, place) => this.cell(row, place));
    this.buildTools();
    this.buildHead();
    this.buildNotes();
    this.setView(this.host.view());
    this.arrange();
    this.cull.renew();
  }

  // --- parts --------------------------------------------------------------------------------

  cell(row, place) {
    const made = cell(row, {
      id: `${this.prefix}-${place}`,
      label: this.label(row),
      columns: this.others,
      url: (entry) => this.host.url(entry),
    });
    made.place = place;
    return made;
  }

  /** What tells a row from the others: its file, its prompt where there are several, else its seed. */
  label(row) {
    const parts = [row.name, this.oneText ? "" : row.prompt].filter(Boolean);
    if (!parts.length && row.seed_text) parts.push(say("seed {seed}", { seed: row.seed_text }));
    return parts.join(" \u00b7 ");
  }

  buildTools() {
    this.viewButtons = [
      button("tm-button", say("Grid"), say("Show as a grid"), () => this.setView("grid", true)),
      button("tm-button", say("List"), say("Show as a list"), () => this.setView("list", true)),
    ];
    this.count = element("span", "tm-count");
    const first = element("div", "tm-row", { children: [this.count, element("span", "tm-space")] });
    if (this.columns.length > 1) first.append(sortBox(["rank", ...this.columns], (name) => this.sortBy(name)));
    first.append(
      button("tm-button", say("Cull"), say("Look through all pictures over the whole window (F)"), () => this.openCull()),
    );
    first.append(...this.viewButtons);
    if (this.sheet) {
      first.append(button("tm-button", say("Sheet"), say("Open the labelled sheet"), () => this.openSheet()));
    }
    const slider = thresholdSlider(this.low, this.high, (score) => {
      this.filter.threshold = score;
      this.arrange();
    });
    const chips = bucketChips(this.summary.buckets ?? {}, (name, hide) => {
      this.filter.hidden[hide ? "add" : "delete"](name);
      this.arrange();
    });
    this.tools.replaceChildren(first, element("div", "tm-row", { children: [slider, ...chips] }));
  }

  buildHead() {
    const sortable = (label, name) => {
      const made = button("tm-by", label, say("Sort by {name}", { name: label }), () => this.sortBy(name));
      made.dataset.sort = name;
      return made;
    };
    this.head.replaceChildren(
      element("span", ""),
      sortable(say("rank"), "rank"),
      element("span", ""),
      element("span", "", { text: say("score"), attributes: { title: this.summary.main ?? say("score") } }),
      ...this.others.map((name) => sortable(name, name)),
      element("span", "", { text: this.oneText ? "" : say("prompt") }),
    );
    const style = this.container.style;
    style.setProperty("--tm-columns", String(this.others.length));
    style.setProperty("--tm-others", this.others.length ? `repeat(${this.others.length}, minmax(58px, 84px))` : " ");
  }

  buildNotes() {
    const { total = this.rows.length, kept = 0, main = "" } = this.summary;
    this.title.textContent = this.rows.length ? "" : say("There are no pictures.");
    this.title.hidden = Boolean(this.rows.length);
    this.countText = `${sayCount(total, "{count} picture", "{count} pictures")}, ${sayCount(kept, "{count} kept", "{count} kept")}`;
    this.list.setAttribute("aria-label", `${say("Ranked pictures")}, ${main}`);
    const lines = this.summary.notes ?? [];
    this.notes.replaceChildren(...lines.map((text) => element("li", "", { text })));
    this.notes.hidden = !lines.length;
    const compared = this.summary.agreement ?? [];
    const words = compared.map(({ first, second, tau, of }) => {
      const sampled = of < total ? ` ${say("(from {of} pictures)", { of })}` : "";
      return `${first} / ${second} ${tau === null ? say("cannot be compared") : formatScore(tau) + sampled}`;
    });
    this.agreement.textContent = words.length ? `${say("Agreement (Kendall's tau):")} ${words.join(" \u00b7 ")}` : "";
    this.agreement.hidden = !words.length;
  }

  // --- what is shown ------------------------------------------------------------------------

  /** Put the cells in order, hide what is filtered away, and keep the active picture if it is still there. */
  arrange() {
    const active = this.shown[this.active];
    this.shown = arranged(this.rows, { ...this.filter, picks: this.hand().picks });
    const children = [];
    const headings = this.several && this.filter.sort === "rank";
    let prompt = null;
    for (const place of this.shown) {
      if (headings && this.rows[place].prompt !== prompt) {
        prompt = this.rows[place].prompt;
        children.push(element("div", "tm-group", { text: prompt, attributes: { role: "presentation" } }));
      }
      children.push(this.cells[place]);
    }
    if (!children.length) children.push(element("div", "tm-nothing", { text: say("Every picture is hidden.") }));
    this.list.replaceChildren(...children);
    this.count.textContent =
      this.shown.length === this.rows.length
        ? this.countText
        : say("{shown} of {all} shown", { shown: this.shown.length, all: this.rows.length });
    for (const by of this.head.querySelectorAll("[data-sort]")) {
      const mine = by.dataset.sort === this.filter.sort;
      by.setAttribute("aria-pressed", String(mine));
      by.dataset.arrow = mine ? (this.filter.descending ? "\u25be" : "\u25b4") : "";
    }
    const select = this.tools.querySelector(".tm-select");
    if (select) select.value = this.filter.sort;
    const index = this.shown.indexOf(active);
    this.list.scrollTop = 0;
    this.activate(Math.max(0, index), index > 0);
    this.drawPicks();
  }

  sortBy(name) {
    const again = this.filter.sort === name;
    this.filter.descending = again ? !this.filter.descending : true;
    this.filter.sort = name;
    this.shown = []; // a new order starts at its top
    this.arrange();
  }

  setView(name, remember = false) {
    const view = name === "list" ? "list" : "grid";
    this.container.dataset.view = view;
    this.viewButtons?.forEach((one, i) => one.setAttribute("aria-pressed", String((i === 0) === (view === "grid"))));
    if (remember) {
      this.host.setView(view);
      this.reveal();
    }
  }

  // --- the active picture -------------------------------------------------------------------

  activate(index, reveal = true) {
    this.cells[this.shown[this.active]]?.classList.remove("tm-active");
    this.activeCell?.classList.remove("tm-active");
    this.active = Math.max(0, Math.min(this.shown.length - 1, index));
    const place = this.shown[this.active];
    this.activeCell = this.cells[place];
    if (!this.activeCell) {
      this.list.removeAttribute("aria-activedescendant");
      this.details.replaceChildren();
      return;
    }
    this.activeCell.classList.add("tm-active");
    this.list.setAttribute("aria-activedescendant", this.activeCell.id);
    this.details.replaceChildren(...facts(this.rows[place]));
    if (reveal) this.reveal();
  }

  /** Scroll the list, and nothing else on the page, until the active picture is seen. */
  reveal() {
    const cell = this.activeCell;
    if (!cell || !this.list.clientHeight) return;
    const top = cell.offsetTop - this.list.offsetTop;
    const over = top + cell.offsetHeight - (this.list.scrollTop + this.list.clientHeight);
    if (over > 0) this.list.scrollTop += over + 4;
    if (top < this.list.scrollTop) this.list.scrollTop = this.active === 0 ? 0 : top - 4;
  }

  placeOf(event) {
    const cell = event.target.closest?.(".tm-cell");
    return cell ? this.shown.indexOf(cell.place) : null;
  }

  /** What is known of a picture's score, where a mouse rests on it. */
  tellWhy(event) {
    const cell = event.target.closest?.(".tm-cell");
    const row = cell && this.rows[cell.place];
    const parts = row ? (answerOf(row)?.parts ?? []) : [];
    if (!parts.length) return;
    const said = parts.map(({ reward, reasons }) => [`${reward}:`, ...reasons.map(saidReason)].join("\n"));
    cell.title = [row.prompt, ...said].filter(Boolean).join("\n\n");
  }

  click(event) {
    const index = this.placeOf(event);
    if (index === null || index < 0) return;
    this.activate(index);
    if (event.target.closest(".tm-zoom")) this.open();
    else this.toggle(this.rows[this.shown[index]]);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Tab") return;
    event.stopPropagation(); // Delete would delete the node
    if (!this.shown.length) return;
    const boxes = this.shown.map((place) => ({ top: this.cells[place].offsetTop, left: this.cells[place].offsetLeft }));
    const next = moved(event.key, this.active, boxes, 3);
    const row = this.rows[this.shown[this.active]];
    if (next !== null) this.activate(next);
    else if (event.key === " ") this.toggle(row);
    else if (event.key === "Enter") this.open();
    else if (event.key.toLowerCase() === "c") this.compare();
    else if (event.key.toLowerCase() === "f") this.openCull();
    else return;
    event.preventDefault();
  }

  /** Cull from the active picture on. */
  openCull() {
    this.cull.open(this.shown[this.active] ?? 0);
  }

  open() {
    this.viewer.open(this.active);
  }

  compare() {
    if (this.shown.length < 2) return;
    const other = this.active;
    this.activate(other + 1 < this.shown.length ? other + 1 : other - 1);
    this.viewer.open(this.active, other);
  }

  openSheet() {
    window.open(this.host.url(this.sheet), "_blank", "noopener");
  }

  // --- picks --------------------------------------------------------------------------------

  /** The marks and picks that hold for what is shown. */
  hand() {
    return held(this.all, this.host.own());
  }

  setPicks(change) {
    const hand = this.hand();
    change(hand.picks);
    this.host.write(owned(this.all, hand, this.host.own()));
  }

  toggle(row) {
    this.setPicks((picks) => picks.delete(row.id) || picks.add(row.id));
    this.drawPicks();
  }

  /** Mark what is picked; after a change of the widget from outside too. */
  drawPicks() {
    const { picks, marks } = this.hand();
    for (const cell of this.cells) {
      const row = this.rows[cell.place];
      const picked = picks.has(row.id);
      const mark = markOf(marks, row.id);
      const drawn = `${picked} ${mark.stars} ${mark.rejected}`;
      if (cell.drawn === drawn) continue;
      cell.drawn = drawn;
      const marked = cell.querySelector(".tm-marked");
      marked.textContent = mark.rejected ? "\u2715" : "\u2605".repeat(mark.stars);
      marked.setAttribute("aria-hidden", "true");
      cell.setAttribute("aria-label", [described(row), saidMark(mark, false)].filter(Boolean).join("; "));
      cell.classList.toggle("tm-rejected", mark.rejected);
      cell.classList.toggle("tm-picked", picked);
      cell.setAttribute("aria-selected", String(picked));
    }
    const here = this.all.filter((row) => picks.has(row.id)).length;
    const sent = this.all.filter((row) => row.picked);
    const same = sent.length === here && sent.every((row) => picks.has(row.id));
    const rated = this.all.every((row) => ratingOf(markOf(marks, row.id)) === (row.stars ?? 0));
    const ids = new Set(this.all.map((row) => row.id));
    const away = [...picks].filter((id) => !ids.has(id)).length;
    const words = [here ? sayCount(here, "{count} picked", "{count} picked") : say("Click a picture or press Space to pick it")];
    if (away) words.push(sayCount(away, "{count} from another batch", "{count} from another batch"));
    if (same && here) words.push(say("sent on"));
    if (!rated) words.push(say("stars to send on"));
    const picked = here ? say("Send on {count}", { count: here }) : say("Send on none");
    this.sendButton.textContent = same ? say("Send stars on") : picked;
    this.sendButton.hidden = same && rated;
    this.said.className = here ? "tm-picks" : "tm-dim";
    this.said.textContent = words.join(" \u00b7 ");
    const focused = document.activeElement;
    this.onlyButton.setAttribute("aria-pressed", String(this.filter.onlyPicked));
    this.onlyButton.hidden = !here && !this.filter.onlyPicked; // the way back stays when the last pick is taken back
    this.clearButton.hidden = !picks.size;
    if (focused?.hidden && this.bottom.contains(focused)) this.list.focus({ preventScroll: true });
  }

  clear() {
    this.setPicks((picks) => picks.clear());
    this.filter.onlyPicked = false;
    this.arrange();
  }
}
