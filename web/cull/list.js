// A list of any number of pictures: only those near what is seen are in the page.

import { element } from "../shared/dom.js";
import { say } from "../shared/words.js";
import { Loading } from "./loading.js";
import { between, fittedSide, layout } from "./model.js";

const GAP = 4;
const [LEAST, USUAL, MOST] = [90, 190, 420]; // pixels of a picture's side
const AHEAD = 0.75; // of the list's height, kept ready above and below

/**
 * The list. `source` gives: `make()`, a new element with an `img`, which will be one picture after the other;
 * `fill(cell, place)`, which draws what is known of a picture into it; `address(place, side)`, where the picture is; `shrinks(place, side)`,
 * whether that is a large one of which a small copy is to be made;
 * `activate(index, event)`, `open()`.
 */
export class PictureList {
  constructor(source) {
    this.source = source;
    this.cells = new Map(); // index -> its element
    this.free = []; // elements for the next pictures
    this.heads = [];
    this.loading = new Loading((picture) => {
      const { top } = this.laid.boxes[picture.index] ?? { top: -Infinity };
      return top + this.laid.side >= this.box.scrollTop && top <= this.box.scrollTop + this.box.clientHeight;
    });
    this.places = [];
    this.prompts = [];
    this.least = null;
    this.active = 0;
    this.all = element("div", "tmc-all", { attributes: { role: "presentation" } });
    this.nothing = element("div", "tmc-nothing", { text: say("No picture passes this filter.") });
    this.box = element("div", "tmc-list", {
      attributes: { role: "listbox", tabindex: "0", "aria-multiselectable": "true", "aria-label": say("Pictures") },
      children: [this.all, this.nothing],
      on: {
        scroll: () => this.draw(),
        click: (event) => {
          const index = this.indexOf(event);
          if (index >= 0) source.activate(index, event);
        },
        dblclick: (event) => this.indexOf(event) >= 0 && source.open(),
      },
    });
    this.resized = new ResizeObserver(() => this.place());
    this.resized.observe(this.box);
  }

  indexOf(event) {
    const cell = event.target.closest?.(".tmc-cell");
    return cell ? this.places.indexOf(cell.place) : -1;
  }

  /** Show these places, under their prompts where `prompts` are not null. */
  show(places, prompts, active) {
    this.places = places;
    this.prompts = prompts;
    this.active = active;
    this.nothing.hidden = places.length > 0;
    this.place();
  }

  /** Larger or smaller pictures. */
  resize(by) {
    this.least = Math.max(LEAST, Math.min(MOST, Math.round(this.least * by)));
    this.place();
  }

  /** As large as a first look at so many pictures wants: all of them at once, where they are few. */
  fit(count) {
    const side = fittedSide(count, this.box.clientWidth, this.box.clientHeight, GAP);
    this.least = Math.max(USUAL, Math.min(MOST, side));
  }

  /** Lay out for the room there is. */
  place() {
    const width = this.box.clientWidth;
    if (!width) return;
    if (this.least === null) this.fit(this.places.length);
    this.laid = layout(this.prompts, { width, least: Math.min(this.least, width), gap: GAP });
    this.all.style.height = `${this.laid.height}px`;
    this.all.style.setProperty("--tmc-side", `${this.laid.side}px`);
    this.keepCells(new Set());
    this.keepHeads([]);
    this.activate(this.active);
  }

  /** Put into the page what is seen or soon will be, and take out what is not. */
  draw() {
    if (!this.laid || !this.box.clientHeight) return;
    const { boxes, heads, side } = this.laid;
    const [top, seen] = [this.box.scrollTop, this.box.clientHeight];
    const [from, to] = [top - seen * AHEAD, top + seen * (1 + AHEAD)];
    const [first, behind] = between(boxes, from, to, side);
    const wanted = new Set();
    for (let index = first; index < behind; index += 1) wanted.add(index);
    if (boxes.length) wanted.add(this.active); // a screen reader's place stays, wherever a mouse scrolls
    this.keepCells(wanted);
    this.loading.next();
    this.keepHeads(heads.slice(...between(heads, from, to, side)));
  }

  keepHeads(heads) {
    if (!heads.length && !this.heads.length) return;
    for (const head of this.heads) head.remove();
    this.heads = heads.map(({ top, text }) => {
      const head = element("div", "tmc-heading", { text, attributes: { role: "presentation", title: text } });
      head.style.transform = `translateY(${top}px)`;
      return head;
    });
    this.all.append(...this.heads);
  }

  /** Have the pictures of these indexes, and no others; the elements of those that go are those that come. */
  keepCells(wanted) {
    for (const [index, cell] of this.cells) {
      if (wanted.has(index)) continue;
      this.loading.drop(cell.picture);
      this.cells.delete(index);
      this.free.push(cell);
    }
    for (const index of wanted) {
      if (this.cells.has(index)) continue;
      const cell = this.cell(index);
      this.cells.set(index, cell);
      if (!cell.isConnected) this.all.append(cell);
    }
    for (const cell of this.free) cell.remove();
  }

  cell(index) {
    const place = this.places[index];
    const cell = this.free.pop() ?? this.source.make();
    if (!cell.picture) {
      cell.picture = cell.querySelector("img");
      this.loading.watch(cell.picture);
    }
    const { left, top } = this.laid.boxes[index];
    cell.style.transform = `translate(${left}px, ${top}px)`;
    cell.place = place;
    cell.picture.index = index;
    const url = this.source.address(place, this.laid.side);
    if (url) this.loading.add(cell.picture, url, this.source.shrinks(place, this.laid.side));
    cell.setAttribute("aria-posinset", String(index + 1));
    cell.setAttribute("aria-setsize", String(this.places.length));
    this.source.fill(cell, place);
    cell.classList.toggle("tmc-active", index === this.active);
    return cell;
  }

  /** Draw again what stands on the pictures. */
  refresh() {
    for (const cell of this.cells.values()) this.source.fill(cell, cell.place);
  }

  /** Make one the active picture, and bring it into sight. */
  activate(index, reveal = true) {
    this.cells.get(this.active)?.classList.remove("tmc-active");
    this.active = index;
    if (reveal) this.reveal();
    this.draw();
    const cell = this.cells.get(index);
    cell?.classList.add("tmc-active");
    if (cell) this.box.setAttribute("aria-activedescendant", cell.id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  reveal() {
    const box = this.laid?.boxes[this.active];
    if (!box) return;
    const under = box.top + this.laid.side - this.box.clientHeight;
    if (this.box.scrollTop < under) this.box.scrollTop = under;
    if (this.box.scrollTop > box.top) this.box.scrollTop = this.active < this.laid.columns ? 0 : box.top;
  }

  /** How many rows of pictures are seen at once. */
  page() {
    return Math.max(1, Math.floor(this.box.clientHeight / ((this.laid?.side ?? 1) + GAP)));
  }
}
