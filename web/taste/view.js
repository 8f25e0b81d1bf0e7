// The grid: six pictures over the whole page, one click or key each. A modal dialog.

import { button, element, hasFewPixels } from "../shared/dom.js";
import { say, sayCount } from "../shared/words.js";

/**
 * The full-window view of one node.
 * `host` gives: `grid()`, `answer(place)` (-1 for none), `undo()`, `said()`, `entry(id)`, `url(entry)`, `store()`, `closed()`.
 */
export class GridView {
  constructor(host) {
    this.host = host;
    this.question = element("h1", "tmt-question", { text: say("Which one do you like best?") });
    this.count = element("span", "tmt-count", { attributes: { role: "status" } });
    this.grid = element("div", "tmt-grid");
    this.said = element("p", "tmt-said", { attributes: { role: "status" } });
    const keys = [
      this.key("1-6", say("Pick"), null),
      this.key("0", say("None of them"), () => this.answer(-1)),
      (this.undoButton = this.key("U", say("Undo"), () => this.undo())),
      (this.storeButton = this.key("\u21b5", say("Store and close"), () => this.store())),
    ].filter(Boolean);
    this.dialog = element("dialog", "tastemaker-grid tastemaker-overlay", {
      attributes: { "aria-label": say("Teach your taste"), tabindex: "-1" },
      children: [
        element("div", "tmt-head", {
          children: [
            this.question,
            element("span", "tmt-space"),
            this.count,
            button("tm-command", say("Close"), say("Close; clicks stay in the node (Escape)"), () => this.dialog.close()),
          ],
        }),
        this.grid,
        this.said,
        element("div", "tm-commands", { children: keys }),
      ],
    });
    this.dialog.addEventListener("keydown", (event) => this.pressed(event));
    this.dialog.addEventListener("close", () => {
      this.dialog.remove();
      host.closed();
    });
    for (const kind of ["pointerdown", "wheel", "contextmenu"]) {
      this.dialog.addEventListener(kind, (event) => event.stopPropagation());
    }
  }

  key(key, text, action) {
    if (!action) return element("span", "tmt-hint", { children: [element("kbd", "", { text: key }), text] });
    const one = button("tm-command", "", `${text} (${key})`, action);
    one.append(element("kbd", "", { text: key }), element("span", "", { text }));
    return one;
  }

  open() {
    if (this.dialog.open || !this.host.grid()) return;
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.draw();
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  answer(place) {
    this.host.answer(place);
    this.draw();
  }

  undo() {
    this.host.undo();
    this.draw();
  }

  store() {
    this.dialog.close();
    this.host.store();
  }

  draw() {
    const grid = this.host.grid();
    const { text, done, clicks, undoable } = this.host.said();
    this.count.textContent = sayCount(clicks, "{count} click", "{count} clicks");
    this.said.textContent = text;
    this.said.classList.toggle("tmt-done", done);
    this.question.textContent = done
      ? say("That is enough: store it, or go on")
      : say("Which one do you like best?");
    this.undoButton.disabled = !undoable;
    this.grid.replaceChildren(...(grid?.shown ?? []).map((id, place) => this.cell(id, place)));
    this.grid.dataset.count = String(grid?.shown.length ?? 0);
    this.dialog.focus();
  }

  cell(id, place) {
    const picture = element("img", "tmt-picture", { attributes: { alt: say("Picture {place}", { place: place + 1 }), draggable: "false" } });
    const entry = this.host.entry(id);
    picture.addEventListener("load", () => {
      picture.classList.toggle("tmt-pixels", hasFewPixels(picture));
    });
    picture.addEventListener("error", () => picture.replaceWith(element("span", "tmt-gone", { text: say("Run again") })));
    picture.src = this.host.url(entry?.small);
    const cell = button("tmt-cell", "", say("Pick picture {place} ({place})", { place: place + 1 }), () => this.answer(place));
    if (entry?.prompt) cell.title = entry.prompt;
    cell.append(picture, element("kbd", "tm-key tmt-number", { text: String(place + 1) }));
    return cell;
  }

  pressed(event) {
    event.stopPropagation(); // the page has shortcuts of its own
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    const onButton = event.target instanceof HTMLButtonElement;
    const count = this.host.grid()?.shown.length ?? 0;
    const number = /^[0-9]$/.test(key) ? Number(key) : -1;
    const known = (number >= 0 && number <= count) || key === "u" || key === "backspace" || (key === "enter" && !onButton);
    if (!known) return;
    event.preventDefault();
    if (event.repeat) return; // a key held down is one click
    if (number >= 0) this.answer(number - 1);
    else if (key === "enter") this.store();
    else this.undo();
  }
}
