// Culling: all pictures over the whole window, by keyboard. A modal dialog, so the page keeps focus inside it.

import { bucketWord, described, formatScore, moved } from "../gallery/model.js";
import { addStyle, button, element } from "../shared/dom.js";
import { say, sayCount, sayNumber } from "../shared/words.js";
import { heatOf, nextHeat, onAnswers, answerOf, whySection } from "../why/answers.js";
import { PictureList } from "./list.js";
import { held, markOf, owned, saidMark, setMark, shownPlaces } from "./model.js";
import { Stage } from "./stage.js";

const SURVEYED = 16; // pictures at once, at most
const THUMB = 300; // pixels: larger ones are no small copies any more
const UNDONE = 500; // steps back
const STAR = "\u2605";
// functions: the page's language is known only after this file is read
const filters = () => [
  ["all", say("All"), say("Show all pictures")],
  ["picked", say("Picked"), say("Show only what is picked")],
  ["kept", say("Not rejected"), say("Hide what is rejected")],
  ["rejected", say("Rejected"), say("Show only what is rejected")],
];
const keys = () => [
  ["1-5", say("stars")],
  ["P", say("pick")],
  ["X", say("reject")],
  ["U", say("undo")],
  ["\u21b5", say("large")],
  ["C", say("compare")],
  ["N", say("survey")],
  ["Z", say("zoom")],
  ["I", say("info")],
  ["W", say("why")],
  ["H", say("where")],
  [say("Space"), say("select")],
];

let views = 0;

/**
 * The culling view of one node.
 * `host` gives: `rows()`, `summary()`, `url(entry)`, `own()` and `write(own)` (what the node's widgets hold: marks by id,
 * and picks), `run()`, `closed()`; where scores can be explained, `why(ids)`, which asks and returns what to say meanwhile.
 */
export class CullView {
  constructor(host) {
    addStyle(new URL("./cull.css", import.meta.url).href, new URL("../why/why.css", import.meta.url).href);
    this.host = host;
    this.prefix = `tastemaker-cull-${++views}`;
    this.rows = [];
    this.mode = "grid"; // or "one", "two", "survey"
    this.order = { filter: "all", sort: "rank", descending: true, grouped: false };
    this.selected = new Set(); // ids
    this.info = false;
    this.heat = null; // of which reward the map is shown in place of the pictures
    this.list = new PictureList({
      make: () => this.cell(),
      address: (place, side) => this.small(this.rows[place], side),
      shrinks: (place, side) => this.shrinks(this.rows[place], side),
      fill: (cell, place) => this.fill(cell, place),
      activate: (index, event) => this.clicked(index, event),
      open: () => this.setMode("one"),
    });
    this.stage = new Stage({
      address: (place) => this.whole(this.rows[place]),
      said: (place) => this.described(this.rows[place]),
      marks: (place) => this.caption(this.rows[place]),
      chosen: (i) => this.choose(i),
      zooms: () => this.mode !== "survey",
    });
    this.build();
  }

  // --- parts --------------------------------------------------------------------------------

  build() {
    this.aside = element("aside", "tmc-info", { attributes: { "aria-label": say("About this picture") } });
    this.dialog = element("dialog", "tastemaker-overlay tastemaker-cull", {
      attributes: { "aria-label": say("Cull"), tabindex: "-1" },
      children: [
        this.buildBar(),
        element("div", "tmc-main", { children: [this.list.box, this.stage.box, this.aside] }),
        this.buildFoot(),
      ],
    });
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => {
      if (event.detail && !event.target.closest("select, .tmc-info")) this.focus(); // a mouse leaves the keys to the pictures
    });
    this.dialog.addEventListener("close", () => {
      this.stopListening?.();
      this.list.loading.smaller.forget();
      this.dialog.remove();
      this.host.closed();
    });
    for (const kind of ["pointerdown", "wheel", "contextmenu"]) {
      this.dialog.addEventListener(kind, (event) => event.stopPropagation());
    }
  }

  buildBar() {
    const atLeast = (n) => (n === 5 ? say("Show 5 stars") : sayCount(n, "Show {count} star or more", "Show {count} stars or more"));
    const filter = (name, text, label) => {
      const one = button("tmc-button", text, label, () => this.reorder({ filter: name }));
      one.dataset.filter = String(name);
      return one;
    };
    this.filters = [
      ...filters().map(([name, text, label]) => filter(name, text, label)),
      ...[1, 2, 3, 4, 5].map((n) => filter(n, STAR, atLeast(n))),
    ];
    this.sort = element("select", "tmc-select", {
      attributes: { "aria-label": say("Sort by"), title: say("Sort by") },
      on: {
        change: () => {
          this.reorder({ sort: this.sort.value });
          if (this.byMouse) this.focus(); // arrow keys go on through the menu
        },
        pointerdown: () => (this.byMouse = true),
        keydown: () => (this.byMouse = false),
      },
    });
    this.direction = button("tmc-button", "", say("Turn the order around"), () =>
      this.reorder({ descending: !this.order.descending }),
    );
    this.group = button("tmc-button", say("By prompt"), say("Group by prompt"), () => this.reorder({ grouped: !this.order.grouped }));
    this.count = element("span", "tmc-count");
    this.send = button("tmc-button tmc-send", say("Send on"), say("Send picks and stars on: run the graph"), () => {
      this.dialog.close();
      this.host.run();
    });
    const close = button("tmc-button", say("Close"), say("Close; stars and picks stay in the node (Escape)"), () => this.dialog.close());
    return element("div", "tmc-bar", {
      children: [
        element("div", "tmc-filters", { attributes: { role: "group", "aria-label": say("Filter") }, children: this.filters }),
        this.sort, this.direction, this.group, this.count, element("span", "tmc-space"), this.send, close,
      ],
    });
  }

  buildFoot() {
    this.stars = [1, 2, 3, 4, 5].map((n) =>
      button("tmc-star", STAR, `${sayCount(n, "{count} star", "{count} stars")} (${n})`, () => this.rate(n === this.current().stars ? 0 : n)),
    );
    this.pick = button("tmc-button", say("Pick"), say("Pick this picture (P)"), () => this.togglePick());
    this.reject = button("tmc-button", say("Reject"), say("Reject this picture (X)"), () => this.toggleReject());
    this.undoButton = button("tmc-button", say("Undo"), say("Take the last mark back (U)"), () => this.undo());
    this.compareButton = button("tmc-button", say("Compare"), say("Compare two side by side (C)"), () => this.compare());
    this.surveyButton = button("tmc-button", say("Survey"), say("See the selected ones together (N)"), () => this.survey());
    this.infoButton = button("tmc-button", say("Info"), say("Prompt, seed and scores (I)"), () => this.toggleInfo());
    this.said = element("span", "tmc-said", { attributes: { role: "status" } });
    const hints = element("span", "tmc-keys", {
      attributes: { "aria-hidden": "true" }, // every button says its key
      children: keys().map(([key, text]) => element("span", "", { children: [element("kbd", "", { text: key }), text] })),
    });
    return element("div", "tmc-foot", {
      children: [
        element("span", "tmc-stars", { attributes: { role: "group", "aria-label": say("Stars") }, children: this.stars }),
        this.pick, this.reject, this.undoButton, this.said, element("span", "tmc-space"), hints,
        this.compareButton, this.surveyButton, this.infoButton,
      ],
    });
  }

  cell() {
    return element("div", "tmc-cell", {
      attributes: { role: "option" },
      children: [
        element("img", "tmc-thumb", { attributes: { decoding: "async", alt: "", draggable: "false" } }),
        element("span", "tmc-badge tmc-flag", { attributes: { "aria-hidden": "true" } }),
        element("span", "tmc-badge tmc-rated", { attributes: { "aria-hidden": "true" } }),
      ],
    });
  }

  /** Where a picture for the list is: a small copy, or in a large cell the large one. */
  small(row, side) {
    const entry = heatOf(row, this.heat) ?? this.copy(row, side);
    return entry ? this.host.url(entry) : "";
  }

  whole(row) {
    const entry = heatOf(row, this.heat) ?? row.view;
    return entry ? this.host.url(entry) : "";
  }

  copy(row, side) {
    return side > THUMB ? (row.view ?? row.thumb) : (row.thumb ?? row.view);
  }

  /** Whether all there is of a picture for a small cell is a large file. */
  shrinks(row, side) {
    return side <= THUMB && !row.thumb && !heatOf(row, this.heat);
  }

  fill(cell, place) {
    const row = this.rows[place];
    const mark = markOf(this.marks, row.id);
    const picked = this.picks.has(row.id);
    const chosen = this.selected.has(row.id);
    cell.id = `${this.prefix}-${place}`;
    cell.classList.toggle("tmc-selected", chosen);
    cell.classList.toggle("tmc-picked", picked);
    cell.classList.toggle("tmc-rejected", mark.rejected);
    cell.setAttribute("aria-selected", String(chosen));
    cell.setAttribute("aria-label", this.described(row));
    cell.querySelector(".tmc-flag").textContent = mark.rejected ? "\u2715" : picked ? "\u2713" : "";
    cell.querySelector(".tmc-rated").textContent = STAR.repeat(mark.stars);
  }

  described(row) {
    const said = saidMark(markOf(this.marks, row.id), this.picks.has(row.id));
    return said ? `${described(row)}; ${said}` : described(row);
  }

  caption(row) {
    const mark = markOf(this.marks, row.id);
    const flag = mark.rejected ? `\u2715 ${say("rejected")}` : this.picks.has(row.id) ? `\u2713 ${say("picked")}` : "";
    const texts = [`#${row.rank ?? row.number}`, formatScore(row.score), STAR.repeat(mark.stars), flag];
    return texts.filter(Boolean).map((text, i) => element("span", i === 0 ? "tmc-number" : "", { text }));
  }

  // --- opening ------------------------------------------------------------------------------

  open(place = 0) {
    if (this.dialog.open || !this.host.rows().length) return;
    this.selected.clear();
    this.past = [];
    this.mode = "grid";
    this.read();
    this.order = { ...this.order, filter: "all" }; // nothing is missing that was not just hidden
    this.heat = null;
    this.stopListening = onAnswers((rows, trouble) => (trouble ? this.announce(trouble) : this.answered(rows)));
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.arrange(place);
    this.setMode("grid");
    this.announce("");
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  /** What a new run has put there, under an open view. */
  renew() {
    if (!this.dialog.open) return;
    if (!this.host.rows().length) this.close();
    const rows = this.host.rows();
    if (rows.length === this.rows.length && rows.every((row, i) => row.id === this.rows[i].id)) {
      this.read(); // the same pictures: whoever looks at one goes on looking at it
      this.drawChrome();
      return this.draw();
    }
    this.past = [];
    this.mode = "grid";
    this.read();
    this.arrange(0);
    return this.setMode("grid");
  }

  /** What a column is called in the menu. */
  named(name) {
    if (name === "rank") return this.ranked ? say("rank") : say("order");
    return name === "stars" ? say("stars") : name;
  }

  read() {
    this.rows = this.host.rows();
    this.ranked = Boolean(this.rows[0]?.rank);
    ({ marks: this.marks, picks: this.picks } = held(this.rows, this.host.own()));
    const columns = this.host.summary().columns ?? Object.keys(this.rows[0]?.scores ?? {});
    const names = ["rank", ...columns.filter((name) => name !== "rank" && name !== "stars"), "stars"];
    this.sort.replaceChildren(...names.map((name) => element("option", "", { text: this.named(name), attributes: { value: name } })));
    if (!names.includes(this.order.sort)) this.order.sort = "rank";
    this.group.hidden = new Set(this.rows.map((row) => row.prompt)).size < 2;
    if (this.group.hidden) this.order.grouped = false;
  }

  // --- what is shown ------------------------------------------------------------------------

  reorder(change) {
    this.order = { ...this.order, ...change };
    this.mode = "grid";
    this.arrange(this.shown[this.active]);
    this.setMode("grid", false);
    this.announce(say("{shown} of {all} shown", { shown: this.shown.length, all: this.rows.length }));
  }

  /** Filter and sort anew; the picture of `place`, if it is still shown, stays the active one, else its follower. */
  arrange(place, index = 0) {
    this.shown = shownPlaces(this.rows, { ...this.order, marks: this.marks, picks: this.picks });
    const ids = new Set(this.shown.map((one) => this.rows[one].id));
    for (const id of this.selected) if (!ids.has(id)) this.selected.delete(id); // no key marks what is not seen
    const found = this.shown.indexOf(place);
    this.active = Math.max(0, Math.min(this.shown.length - 1, found >= 0 ? found : index));
    const prompts = this.shown.map((one) => (this.order.grouped ? (this.rows[one].prompt ?? "") : null));
    this.list.show(this.shown, prompts, this.active);
    this.drawChrome();
  }

  drawChrome() {
    const { filter, sort, descending, grouped } = this.order;
    for (const one of this.filters) {
      const mine = one.dataset.filter === String(filter);
      one.setAttribute("aria-pressed", String(mine));
      one.classList.toggle("tmc-lit", typeof filter === "number" && Number(one.dataset.filter) <= filter);
    }
    this.sort.value = sort;
    this.direction.textContent = descending ? "\u2193" : "\u2191";
    this.group.setAttribute("aria-pressed", String(grouped));
    const [shown, all] = [this.shown.length, this.rows.length];
    this.count.textContent =
      shown === all
        ? sayCount(all, "{count} picture", "{count} pictures")
        : say("{done} of {all}", { done: sayNumber(shown), all: sayNumber(all) });
    const picked = this.rows.filter((row) => this.picks.has(row.id)).length;
    this.send.textContent = picked ? say("Send on {count}", { count: picked }) : say("Send stars on");
    this.send.hidden = !picked && !this.marks.size;
    this.drawCurrent();
  }

  /** The active picture's marks below, and what is known of it. */
  drawCurrent() {
    const row = this.row();
    const { stars, rejected } = this.current();
    this.stars.forEach((one, i) => {
      one.setAttribute("aria-pressed", String(i < stars));
      one.disabled = !row?.id;
    });
    this.pick.setAttribute("aria-pressed", String(Boolean(row && this.picks.has(row.id))));
    this.reject.setAttribute("aria-pressed", String(rejected));
    this.pick.disabled = this.reject.disabled = !row?.id;
    this.undoButton.disabled = !this.past.length;
    this.compareButton.setAttribute("aria-pressed", String(this.mode === "two"));
    this.surveyButton.setAttribute("aria-pressed", String(this.mode === "survey"));
    this.compareButton.disabled = this.surveyButton.disabled = this.shown.length < 2;
    this.infoButton.setAttribute("aria-pressed", String(this.info));
    this.aside.hidden = !this.info || !row;
    if (this.info && row) this.aside.replaceChildren(...this.facts(row));
  }

  facts(row) {
    const lines = [
      [say("Rank"), row.rank && `#${row.rank}`],
      ...Object.entries(row.scores ?? {}).map(([name, value]) => [name, formatScore(value)]),
      [say("Band"), bucketWord(row.bucket)],
      [say("Marks"), saidMark(markOf(this.marks, row.id), this.picks.has(row.id)) || say("none")],
      [say("Seed"), row.seed_text],
      [say("File"), row.name],
    ].filter(([, text]) => text);
    const list = element("dl", "", {
      children: lines.flatMap(([name, text]) => [element("dt", "", { text: name }), element("dd", "", { text })]),
    });
    const why = whySection({
      row,
      heat: this.heat,
      ask: this.host.why ? () => this.ask() : null,
      toggle: () => this.toggleHeat(),
    });
    return [list, element("p", "tmc-prompt", { text: row.prompt ?? "" }), why];
  }

  // --- why ----------------------------------------------------------------------------------

  /** Ask why the active picture, or the selection that it is in, scored as it did. */
  ask() {
    const ids = this.targets();
    if (!this.host.why || !ids.length) return;
    this.info = true;
    this.announce(this.host.why(ids));
    this.drawCurrent();
  }

  answered(rows) {
    const mine = rows.some((row) => row.id === this.row()?.id);
    if (!mine) this.announce(say("Why This Score has answered for others"));
    else if (rows.length === 1) this.announce(say("Here is why"));
    else this.announce(sayCount(rows.length, "Why, for {count} picture", "Why, for {count} pictures"));
    this.redraw();
  }

  /** Show where the score comes from: each reward's map, then the picture again. */
  toggleHeat() {
    const answer = answerOf(this.row());
    if (!answer) return this.ask();
    this.heat = nextHeat(this.heat, answer);
    this.announce(this.heat === null ? say("The picture") : say("Where {reward} looks", { reward: answer.parts[this.heat].reward }));
    return this.redraw();
  }

  redraw() {
    if (this.mode === "grid") this.list.place();
    this.draw();
  }

  /** Which places are large now, and which of them is the active one. */
  large() {
    if (this.mode === "two") return this.pair;
    return this.mode === "survey" ? this.surveyed : [this.shown[this.active]];
  }

  setMode(mode, focus = true) {
    if (mode !== "grid" && !this.shown.length) return;
    const filtered = this.order.filter !== "all" || this.order.sort === "stars";
    if (mode === "grid" && filtered) this.arrange(this.shown[this.active], this.active); // marks were made while two were large
    this.mode = mode;
    this.stage.zoomTo(null);
    this.list.box.hidden = mode !== "grid";
    this.stage.box.hidden = mode === "grid";
    if (mode === "grid") {
      this.list.place();
      this.list.activate(this.active);
    }
    this.draw();
    if (focus) this.focus();
  }

  draw() {
    if (this.mode === "grid") this.list.refresh();
    else this.drawStage();
    this.drawCurrent();
  }

  drawStage() {
    const places = this.large();
    this.stage.show(places, places.indexOf(this.shown[this.active]));
    if (this.mode === "survey") return;
    for (const by of [1, -1]) { // what comes next is there before it is asked for
      const row = this.rows[this.shown[this.active + by]];
      if (row?.view) new Image().src = this.host.url(row.view);
    }
  }

  focus() {
    (this.mode === "grid" ? this.list.box : this.stage.box).focus({ preventScroll: true });
  }

  announce(text) {
    this.said.textContent = text;
  }

  // --- walking ------------------------------------------------------------------------------

  row() {
    return this.rows[this.shown[this.active]];
  }

  current() {
    return markOf(this.marks, this.row()?.id);
  }

  activate(index) {
    this.active = Math.max(0, Math.min(this.shown.length - 1, index));
    if (this.mode !== "grid") this.drawStage();
    else if (this.shown.length) this.list.activate(this.active);
    this.drawCurrent();
  }

  clicked(index, event) {
    const from = this.active;
    this.activate(index);
    if (event.shiftKey) this.select(from, index);
    else if (event.ctrlKey || event.metaKey) this.toggleSelected();
  }

  select(from, to) {
    for (let i = Math.min(from, to); i <= Math.max(from, to); i += 1) this.selected.add(this.rows[this.shown[i]].id);
    this.selected.delete(""); // a picture that has gone
    this.saySelected();
  }

  toggleSelected() {
    const id = this.row()?.id;
    if (id && !this.selected.delete(id)) this.selected.add(id);
    this.saySelected();
  }

  saySelected() {
    this.announce(this.selected.size ? sayCount(this.selected.size, "{count} selected", "{count} selected") : say("None selected"));
    this.draw();
  }

  walk(event) {
    const { key, shiftKey } = event;
    if (this.mode !== "grid" && shiftKey && this.stage.pan(key)) return true;
    if (this.mode === "grid") {
      const next = this.shown.length ? moved(key, this.active, this.list.laid.boxes, this.list.page()) : null;
      if (next === null) return false;
      const from = this.active;
      this.activate(next);
      if (shiftKey) this.select(from, next);
      return true;
    }
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity }[key];
    if (by === undefined) return false;
    if (this.mode === "one") this.activate(this.active + by);
    else if (this.mode === "two") this.walkPair(key, by);
    else {
      const last = this.surveyed.length - 1;
      const i = this.surveyed.indexOf(this.shown[this.active]) + by;
      this.choose(Math.max(0, Math.min(last, i)));
    }
    return true;
  }

  /** Of two, left and right change the active one, past the other; up and down make the other one active. */
  walkPair(key, by) {
    const side = this.pair.indexOf(this.shown[this.active]);
    if (key === "ArrowUp" || key === "ArrowDown") {
      this.choose(1 - side);
      return;
    }
    const other = this.shown.indexOf(this.pair[1 - side]);
    const last = this.shown.length - 1;
    let next = Math.max(0, Math.min(last, this.active + by));
    if (next === other) next += by > 0 ? 1 : -1;
    if (next < 0 || next > last) next = this.active;
    this.pair[side] = this.shown[next];
    this.activate(next);
  }

  /** Make the i-th of the large ones the active picture. */
  choose(i) {
    const index = this.shown.indexOf(this.large()[i]);
    if (index >= 0) this.activate(index);
  }

  compare() {
    if (this.mode === "two") return this.setMode("grid");
    if (this.shown.length < 2) return this.announce(say("There is nothing to compare with."));
    const chosen = this.chosenIndexes();
    const first = chosen.length === 2 ? chosen[0] : this.active;
    const second = chosen.length === 2 ? chosen[1] : first + 1 < this.shown.length ? first + 1 : first - 1;
    this.pair = [this.shown[first], this.shown[second]];
    this.active = second;
    this.announce(say("Comparing two. Left and right change one, up and down change sides."));
    return this.setMode("two");
  }

  survey() {
    if (this.mode === "survey") return this.setMode("grid");
    if (this.shown.length < 2) return this.announce(say("There is nothing to compare with."));
    let chosen = this.chosenIndexes();
    if (chosen.length < 2) {
      const first = Math.max(0, Math.min(this.active, this.shown.length - 4));
      chosen = [...this.shown.keys()].slice(first, first + 4);
    }
    const some = chosen.slice(0, SURVEYED);
    this.surveyed = some.map((index) => this.shown[index]);
    if (!some.includes(this.active)) this.active = some[0];
    if (some.length === chosen.length) this.announce(sayCount(some.length, "{count} picture", "{count} pictures"));
    else this.announce(say("The first {some} of {all} selected", { some: SURVEYED, all: chosen.length }));
    return this.setMode("survey");
  }

  chosenIndexes() {
    return [...this.shown.keys()].filter((index) => this.selected.has(this.rows[this.shown[index]].id));
  }

  toggleInfo() {
    this.info = !this.info;
    this.drawCurrent();
  }

  // --- marks --------------------------------------------------------------------------------

  /** What a mark is put on: in the grid all of a selection, if the active picture is in it. */
  targets() {
    const id = this.row()?.id;
    if (!id) return [];
    return this.mode === "grid" && this.selected.has(id) ? [...this.selected] : [id];
  }

  /** Give pictures a mark and a pick; `change(mark, picked)` says which. One step to undo. */
  mark(ids, change) {
    if (!ids.length) return;
    const before = ids.map((id) => [id, markOf(this.marks, id), this.picks.has(id)]);
    this.past.push(before);
    if (this.past.length > UNDONE) this.past.shift();
    this.put(before.map(([id, mark, picked]) => [id, ...change(mark, picked)]));
    const row = this.row();
    this.announce(saidMark(markOf(this.marks, ids[0]), this.picks.has(ids[0])) || say("no marks"));
    if (ids.length > 1) this.announce(`${sayCount(ids.length, "{count} picture", "{count} pictures")}: ${this.said.textContent}`);
    this.marked(row);
  }

  put(states) {
    for (const [id, mark, picked] of states) {
      setMark(this.marks, id, mark);
      if (picked) this.picks.add(id);
      else this.picks.delete(id);
    }
    this.host.write(owned(this.rows, this, this.host.own()));
  }

  /** After marks have changed: what no longer passes the filter goes, and the next one is active. */
  marked(row) {
    const all = this.order.filter === "all" && this.order.sort !== "stars";
    if (!all && this.mode !== "two" && this.mode !== "survey") {
      this.arrange(this.rows.indexOf(row), this.active);
      if (!this.shown.length) this.setMode("grid");
    }
    this.drawChrome();
    this.draw();
  }

  rate(stars) {
    this.mark(this.targets(), (mark, picked) => [{ ...mark, stars }, picked]);
  }

  togglePick() {
    const on = !this.picks.has(this.row()?.id);
    this.mark(this.targets(), (mark) => [{ ...mark, rejected: on ? false : mark.rejected }, on]);
  }

  toggleReject() {
    const on = !this.current().rejected;
    this.mark(this.targets(), (mark, picked) => [{ ...mark, rejected: on }, on ? false : picked]);
  }

  undo() {
    const last = this.past.pop();
    if (!last) return this.announce(say("Nothing to undo"));
    this.put(last);
    const place = this.rows.findIndex((row) => row.id === last[0][0]);
    if (this.mode === "grid" || this.mode === "one") this.arrange(place, this.active);
    this.announce(say("Undone"));
    this.drawChrome();
    this.draw();
    return undefined;
  }

  // --- keys ---------------------------------------------------------------------------------

  key(event) {
    event.stopPropagation(); // the page has shortcuts of its own for these keys
    if (event.altKey || event.key === "Tab") return;
    if (event.ctrlKey || event.metaKey) {
      this.withControl(event);
      return;
    }
    if (event.target instanceof HTMLSelectElement && event.key !== "Escape") return;
    const onButton = event.target instanceof HTMLButtonElement;
    if (onButton && (event.key === " " || event.key === "Enter")) return; // they press it
    if (event.key === "Escape") {
      if (this.mode === "grid") return; // the dialog closes
      event.preventDefault();
      this.setMode("grid");
      return;
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const actions = {
      p: () => this.togglePick(),
      x: () => this.toggleReject(),
      u: () => this.undo(),
      c: () => this.compare(),
      n: () => this.survey(),
      i: () => this.toggleInfo(),
      w: () => this.ask(),
      h: () => this.toggleHeat(),
      z: () => (this.mode === "grid" ? this.setMode("one") : this.stage.toggleZoom()),
      "+": () => this.mode === "grid" && this.list.resize(1.25),
      "-": () => this.mode === "grid" && this.list.resize(0.8),
      " ": () => this.mode === "grid" && this.toggleSelected(),
      Enter: () => this.setMode(this.mode === "grid" ? "one" : "grid"),
    };
    if (/^[0-5]$/.test(key)) actions[key] = () => this.rate(Number(key));
    if (actions[key]) {
      event.preventDefault();
      if (!event.repeat || key === "u") actions[key](); // a key held down is one mark
    } else if (this.walk(event)) event.preventDefault();
  }

  /** What these keys do everywhere else too: take back, and select all. */
  withControl(event) {
    const key = event.key.toLowerCase();
    if (key === "z" || key === "y") {
      // the page has seen the event before, and in its next frame would undo in the graph, which makes every node anew
      for (const name of ["ctrlKey", "metaKey"]) Object.defineProperty(event, name, { value: false });
    }
    if (key === "z") this.undo();
    else if (key === "a" && this.mode === "grid" && this.shown.length) {
      const all = this.shown.every((place) => this.selected.has(this.rows[place].id));
      this.selected.clear();
      if (!all) this.select(0, this.shown.length - 1);
      else this.saySelected();
    } else if (key !== "y") return;
    event.preventDefault();
  }
}
