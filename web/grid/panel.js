// What the Grid node shows: rows and columns of cells with their means, the best one marked, a click for the large view.

import { formatScore } from "../gallery/model.js";
import { Viewer } from "../gallery/viewer.js";
import { addStyle, button, element } from "../shared/dom.js";
import { cellAt, cellWords, highest, merged, moved, positions, shape, valueWords, viewed, withReach } from "./model.js";
import { say } from "../shared/words.js";

const MOSAIC = 16; // pictures of one cell that are shown in it

/** The panel of one node, in `container`. `url(entry)` is where a picture is served. */
export class GridPanel {
  constructor(container, url) {
    addStyle(new URL("../gallery/gallery.css", import.meta.url).href, new URL("./grid.css", import.meta.url).href);
    this.url = url;
    this.grid = null;
    this.page = 0;
    this.variant = -1;
    this.focus = [0, 0];
    this.cells = [];
    this.seen = { rows: [], start: 0 };
    this.viewer = new Viewer({ rows: () => this.seen.rows, url, moved() {}, closed: () => this.atFocus()?.focus() });
    this.best = element("div", "tmg-best");
    this.status = element("div", "tmg-status tm-empty", {
      text: say("Run the graph to see the grid."),
      attributes: { role: "status" },
    });
    this.back = button("tm-command", "\u2190", say("Previous page (Page Up)"), () => this.turn(-1));
    this.next = button("tm-command", "\u2192", say("Next page (Page Down)"), () => this.turn(1));
    this.which = element("span", "tmg-which");
    this.pages = element("span", "tmg-pages", { children: [this.back, this.which, this.next] });
    this.choice = element("select", "tmg-choice", {
      attributes: { "aria-label": say("Which picture of each cell") },
      on: { change: () => this.choose(Number(this.choice.value)) },
    });
    this.toBest = button("tm-command tm-main", say("Best cell"), say("Go to the best cell"), () => this.showBest());
    this.toSheet = button("tm-command", say("Sheet"), say("See the labelled sheet large"), () => this.openSheet());
    this.bar = element("div", "tm-commands", { children: [this.toBest, this.toSheet, this.pages, this.choice] });
    this.table = element("table", "tmg-table", { attributes: { role: "grid", "aria-label": say("Grid") } });
    this.scroll = element("div", "tmg-scroll", { children: [this.table] });
    this.report = element("div", "tmg-report");
    container.replaceChildren(this.best, this.status, this.bar, this.scroll, this.report);
    container.addEventListener("keydown", (event) => this.key(event));
    for (const kind of ["pointerdown", "wheel"]) {
      container.addEventListener(kind, (event) => event.stopPropagation());
    }
    this.draw();
  }

  /** A message of the run, or its output. */
  show(message) {
    const before = this.grid;
    this.grid = merged(before, message);
    if (!this.grid) return;
    if (message.axes && !alike(before, this.grid)) {
      [this.page, this.variant, this.focus] = [0, -1, [0, 0]];
    }
    if (message.axes || !this.cells.length) this.build();
    this.draw();
  }

  /** The run was cancelled, or failed: what is finished is kept, and a new run goes on from there. */
  stop() {
    if (!this.grid || this.grid.scores) return;
    const made = this.grid.pictures.filter(Boolean).length;
    this.grid.state = say("stopped with {made} of {all} pictures: run again to go on", {
      made,
      all: this.grid.shots.length,
    });
    this.draw();
  }

  /** The large view's pictures, from one cell on. */
  open(cell) {
    this.seen = viewed(this.grid, this.page, this.variant, cell);
    this.viewer.open(this.seen.start);
  }

  openSheet() {
    const rows = this.grid.sheets.map((view, page) => ({ view, name: valueWords(this.grid.axes[2], page) || say("the sheet") }));
    this.seen = { rows, start: this.page };
    this.viewer.open(this.page);
  }

  turn(by) {
    const [pages] = this.grid ? shape(this.grid) : [1];
    const page = Math.max(0, Math.min(pages - 1, this.page + by));
    if (page === this.page) return;
    this.page = page;
    this.build();
    this.draw();
  }

  choose(variant) {
    this.variant = variant;
    this.build();
    this.draw();
  }

  showBest() {
    const [, rows, columns] = shape(this.grid);
    const { best } = this.grid;
    this.page = Math.floor(best / (rows * columns));
    this.focus = [Math.floor(best / columns) % rows, best % columns];
    this.build();
    this.draw();
    this.atFocus()?.focus();
    this.atFocus()?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  atFocus() {
    return this.cells[this.focus[0]]?.[this.focus[1]]?.button;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.grid) return;
    if (event.key === "PageUp" || event.key === "PageDown") {
      event.preventDefault();
      event.stopPropagation();
      this.turn(event.key === "PageUp" ? -1 : 1);
      this.atFocus()?.focus();
      return;
    }
    if (!event.target.classList?.contains("tmg-cell")) return;
    const variant = /^[0-9]$/.test(event.key) ? Number(event.key) - 1 : null;
    if (variant !== null && variant < this.grid.variants.length) {
      event.preventDefault();
      event.stopPropagation();
      this.choose(variant);
      this.atFocus()?.focus();
      return;
    }
    const to = moved(event.key, this.focus, shape(this.grid));
    if (!to) return;
    event.preventDefault();
    event.stopPropagation(); // the page moves nodes with these keys
    this.focusOn(to);
    this.atFocus().focus();
  }

  focusOn(place) {
    this.atFocus()?.setAttribute("tabindex", "-1");
    this.focus = place;
    this.atFocus()?.setAttribute("tabindex", "0");
  }

  // --- drawing ---------------------------------------------------------------------------------

  /** The table of the page, without what changes while pictures are made. */
  build() {
    const [, rows, columns, inside] = shape(this.grid);
    const [across, down] = this.grid.axes;
    this.focus = [Math.min(this.focus[0], rows - 1), Math.min(this.focus[1], columns - 1)];
    const count = this.variant < 0 ? Math.min(inside, MOSAIC) : 1;
    const side = Math.ceil(Math.sqrt(count));
    this.heads = { columns: [], rows: [] };
    this.cells = [];
    const corner = element("th", "tmg-corner", { text: down.setting === "none" ? "" : `${down.setting} \u2193` });
    const top = element("tr", "", { children: [corner] });
    for (let column = 0; column < columns; column += 1) {
      const head = margin("col", across.labels[column]);
      this.heads.columns.push(head);
      top.append(head.box);
    }
    const body = [];
    for (let row = 0; row < rows; row += 1) {
      const head = margin("row", down.labels[row]);
      this.heads.rows.push(head);
      const line = element("tr", "", { children: [head.box] });
      this.cells.push([]);
      for (let column = 0; column < columns; column += 1) {
        const cell = this.makeCell(cellAt(this.grid, this.page, row, column), [row, column], count, side);
        this.cells[row].push(cell);
        line.append(element("td", "", { attributes: { role: "gridcell" }, children: [cell.button] }));
      }
      body.push(line);
    }
    const title = element("caption", "tmg-caption", { text: `${across.setting} \u2192` });
    this.table.style.minWidth = `${116 + 104 * columns}px`; // more columns are scrolled to
    this.table.replaceChildren(title, element("thead", "", { children: [top] }), element("tbody", "", { children: body }));
    this.atFocus()?.setAttribute("tabindex", "0");
  }

  makeCell(cell, place, count, side) {
    const pictures = Array.from({ length: count }, () => {
      const picture = element("img", "tmg-picture", { attributes: { alt: "", draggable: "false", decoding: "async" } });
      picture.hidden = true;
      return picture;
    });
    const mosaic = element("span", "tmg-mosaic", { children: pictures });
    mosaic.style.gridTemplateColumns = `repeat(${side}, minmax(0, 1fr))`;
    const words = element("span", "tmg-words");
    const made = button("tmg-cell", "", cellWords(this.grid, cell), () => {
      this.focusOn(place);
      this.open(cell);
    });
    made.setAttribute("tabindex", "-1");
    made.append(mosaic, words);
    return { cell, button: made, pictures, words };
  }

  draw() {
    const { grid } = this;
    const done = Boolean(grid?.scores);
    this.bar.hidden = !grid;
    this.scroll.hidden = !grid;
    this.best.hidden = !done;
    this.report.hidden = !done;
    if (!grid) return;
    this.status.classList.remove("tm-empty");
    this.status.textContent = [grid.state, grid.note].filter(Boolean).join("  \u00b7  ");
    if (done) {
      this.best.textContent = `\u2605 ${grid.best_words}  ${withReach(grid.cells[grid.best])}`;
      this.report.textContent = grid.report.split("\n").slice(2).join("\n");
    }
    this.drawControls(done);
    this.drawMargins(done);
    for (const cell of this.cells.flat()) this.drawCell(cell, done);
  }

  drawControls(done) {
    const [pages, , , inside] = shape(this.grid);
    this.toBest.hidden = !done;
    this.toSheet.hidden = !done;
    this.pages.hidden = pages < 2;
    this.back.disabled = this.page === 0;
    this.next.disabled = this.page === pages - 1;
    const mean = done ? `  ${withReach(this.grid.margins[2][this.page])}` : "";
    const place = say("({place} of {all})", { place: this.page + 1, all: pages });
    this.which.textContent = `${valueWords(this.grid.axes[2], this.page)}${mean}  ${place}`;
    this.choice.hidden = inside < 2;
    const all = inside > MOSAIC
      ? say("first {count} of {all} in each cell", { count: MOSAIC, all: inside })
      : say("all {all} in each cell", { all: inside });
    const names = [all, ...this.grid.variants];
    if ([...this.choice.options].map((one) => one.textContent).join("\n") !== names.join("\n")) {
      const options = names.map((text, at) => element("option", "", { text, attributes: { value: String(at - 1) } }));
      this.choice.replaceChildren(...options);
    }
    this.choice.value = String(this.variant);
  }

  drawMargins(done) {
    for (const [axis, heads] of [this.heads.columns, this.heads.rows].entries()) {
      const margins = done ? this.grid.margins[axis] : [];
      const best = highest(margins);
      const places = positions(margins);
      for (const [at, head] of heads.entries()) {
        const alone = heads.length < 2 || !done;
        head.mean.textContent = alone ? "" : withReach(margins[at]);
        head.track.hidden = alone;
        head.box.classList.toggle("tmg-first", at === best);
        if (alone) continue;
        head.span.style.left = `${places[at].from}%`;
        head.span.style.width = `${places[at].to - places[at].from}%`;
        head.dot.style.left = `${places[at].at}%`;
      }
    }
  }

  drawCell({ cell, button: made, pictures, words }, done) {
    const inside = this.grid.variants.length;
    const first = cell * inside + Math.max(0, this.variant);
    for (const [k, picture] of pictures.entries()) {
      const entry = this.grid.pictures[first + k];
      picture.hidden = !entry?.thumb;
      if (!entry?.thumb) continue;
      const source = this.url(entry.thumb);
      if (picture.getAttribute("src") !== source) picture.src = source;
    }
    const best = done && cell === this.grid.best;
    const value = done ? formatScore(this.variant < 0 ? this.grid.cells[cell][0] : this.grid.scores[first]) : "";
    words.textContent = best ? `\u2605 ${value}` : value;
    made.classList.toggle("tmg-winner", best);
    const label = [cellWords(this.grid, cell), value, best ? say("the best cell") : ""].filter(Boolean).join(", ");
    made.setAttribute("aria-label", label);
    made.title = label;
    made.disabled = !pictures.some((picture) => !picture.hidden);
  }
}

/** A heading of a row or column: its value, its mean, and where that lies. */
function margin(scope, label) {
  const mean = element("span", "tmg-mean");
  const span = element("span", "tmg-span");
  const dot = element("span", "tmg-dot");
  const track = element("span", "tmg-track", { attributes: { "aria-hidden": "true" }, children: [span, dot] });
  const text = element("span", "tmg-label", { text: label, attributes: { title: label } });
  const box = element("th", "tmg-margin", { attributes: { scope }, children: [text, mean, track] });
  return { box, mean, track, span, dot };
}

/** Whether two grids have the same cells, so that what is looked at can stay. */
function alike(before, after) {
  return Boolean(before) && JSON.stringify([before.axes, before.variants]) === JSON.stringify([after.axes, after.variants]);
}
