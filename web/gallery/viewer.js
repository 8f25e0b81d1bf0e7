// The overlay: one picture large, or two side by side. A modal dialog, so the page keeps focus inside it.

import { addStyle, button, element, hasFewPixels } from "../shared/dom.js";
import { say } from "../shared/words.js";
import { answerOf, heatOf, nextHeat, onAnswers, saidReason } from "../why/answers.js";
import { facts } from "./parts.js";

function pane(role) {
  const picture = element("img", "tm-full", { attributes: { alt: "", draggable: "false" } });
  const gone = element("div", "tm-gone", { text: say("This picture is no longer there. Run the graph again.") });
  const frame = element("div", "tm-frame", { children: [picture, gone] });
  const caption = element("div", "tm-caption");
  const pick = button("tm-button tm-pick-here", say("Pick"), say("Pick this picture"), () => {});
  const box = element("figure", `tm-pane tm-${role}`, {
    children: [frame, element("figcaption", "tm-under", { children: [caption, pick] })],
  });
  picture.addEventListener("load", () => {
    gone.hidden = true;
    picture.hidden = false;
    picture.classList.toggle("tm-pixels", hasFewPixels(picture));
  });
  picture.addEventListener("error", () => {
    gone.hidden = false;
    picture.hidden = true;
  });
  return { box, frame, picture, gone, caption, pick };
}

/** What raised and lowered a picture's score by one reward, as a line of elements. */
function reasonsOf(row, place) {
  const part = answerOf(row)?.parts[place];
  return (part?.reasons ?? []).map((one) => element("span", one.effect > 0 ? "tmw-up" : "tmw-down", { text: saidReason(one) }));
}

/**
 * The overlay of a gallery.
 * `source` gives: `rows()` in the order shown, `url(entry)`, `moved(place)`, `closed()`; where pictures can be picked,
 * `isPicked(row)` and `toggle(row)`; where scores can be explained, `why(row)`, which asks and returns what to say meanwhile.
 */
export class Viewer {
  constructor(source) {
    this.source = source;
    this.place = 0;
    this.other = null; // the place of the left picture while two are compared
    this.actual = false;
    this.heat = null; // of which reward the map is shown in place of the pictures
    addStyle(new URL("../why/why.css", import.meta.url).href);
    this.left = pane("left");
    this.right = pane("right");
    this.left.pick.addEventListener("click", () => this.toggle(this.other));
    this.right.pick.addEventListener("click", () => this.toggle(this.place));
    for (const side of [this.left, this.right]) side.frame.addEventListener("click", () => this.setActual(!this.actual));
    this.count = element("span", "tm-dim tm-count");
    this.compareButton = button("tm-button", say("Compare"), say("Compare two side by side (C)"), () => this.compare());
    this.actualButton = button("tm-button", "1:1", say("Show every pixel (Z)"), () => this.setActual(!this.actual));
    this.whyButton = button("tm-button", say("Why"), say("Say what raised and lowered its score (W)"), () => this.ask());
    this.whereButton = button("tm-button", say("Where"), say("Show where the score comes from (H)"), () => this.toggleHeat());
    this.told = element("span", "tm-dim", { attributes: { role: "status" } });
    this.swapButton = button("tm-button", say("Swap"), say("Swap left and right (X)"), () => this.swap());
    this.dialog = element("dialog", "tastemaker-viewer tastemaker-overlay", {
      attributes: { "aria-label": say("Picture"), tabindex: "-1" },
      children: [
        element("div", "tm-bar", {
          children: [
            button("tm-button", "\u2190", say("Previous picture (left arrow)"), () => this.step(-1)),
            button("tm-button", "\u2192", say("Next picture (right arrow)"), () => this.step(1)),
            this.count,
            this.told,
            element("span", "tm-space"),
            this.whyButton,
            this.whereButton,
            this.swapButton,
            this.compareButton,
            this.actualButton,
            button("tm-button", say("Close"), say("Close (Escape)"), () => this.dialog.close()),
          ],
        }),
        element("div", "tm-panes", { children: [this.left.box, this.right.box] }),
      ],
    });
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => {
      if (event.detail) this.dialog.focus({ preventScroll: true }); // a mouse leaves the keys to the pictures
    });
    this.dialog.addEventListener("close", () => {
      this.stopListening?.();
      this.dialog.remove();
      this.source.closed(this.place);
    });
    for (const kind of ["pointerdown", "wheel", "contextmenu"]) {
      this.dialog.addEventListener(kind, (event) => event.stopPropagation());
    }
  }

  open(place, other = null) {
    this.place = place;
    this.other = other;
    this.actual = false;
    this.heat = null;
    this.told.textContent = "";
    this.stopListening = onAnswers((rows, trouble = "") => {
      this.told.textContent = trouble;
      this.draw();
    });
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.dialog.focus(); // not a button: space picks
    this.draw();
  }

  /** Show another table's rows, or none. */
  close() {
    if (this.dialog.open) this.dialog.close();
  }

  step(by) {
    const last = this.source.rows().length - 1;
    this.place = Math.max(0, Math.min(last, this.place + by));
    this.source.moved(this.place);
    this.draw();
  }

  compare() {
    if (this.other !== null) {
      this.other = null;
    } else if (this.source.rows().length > 1) {
      this.other = this.place;
      this.place = this.place + 1 < this.source.rows().length ? this.place + 1 : this.place - 1;
    }
    this.source.moved(this.place);
    this.draw();
  }

  swap() {
    if (this.other === null) return;
    [this.place, this.other] = [this.other, this.place];
    this.source.moved(this.place);
    this.draw();
  }

  setActual(actual) {
    this.actual = actual;
    this.draw();
  }

  /** Ask why the picture scored as it did. */
  ask() {
    const row = this.source.rows()[this.place];
    if (row?.id && this.source.why) this.told.textContent = this.source.why(row);
  }

  /** Show where the score comes from: each reward's map, then the picture again. */
  toggleHeat() {
    const answer = answerOf(this.source.rows()[this.place]);
    if (!answer) return this.ask();
    this.heat = nextHeat(this.heat, answer);
    return this.draw();
  }

  toggle(place) {
    const row = this.source.rows()[place];
    if (row) this.source.toggle?.(row);
    this.draw();
  }

  draw() {
    const rows = this.source.rows();
    const two = this.other !== null;
    this.left.box.hidden = !two;
    if (two) this.fill(this.left, rows[this.other]);
    this.fill(this.right, rows[this.place]);
    this.dialog.classList.toggle("tm-actual", this.actual);
    this.dialog.classList.toggle("tm-two", two);
    this.compareButton.textContent = two ? say("Single") : say("Compare");
    this.compareButton.setAttribute("aria-pressed", String(two));
    this.compareButton.disabled = rows.length < 2;
    this.actualButton.setAttribute("aria-pressed", String(this.actual));
    this.swapButton.hidden = !two;
    const answer = answerOf(rows[this.place]);
    this.whyButton.hidden = Boolean(answer) || !this.source.why;
    this.whereButton.hidden = !answer;
    this.whereButton.setAttribute("aria-pressed", String(this.heat !== null));
    this.count.textContent = say("{done} of {all}", { done: this.place + 1, all: rows.length });
  }

  fill(side, row) {
    if (!row) return;
    const entry = heatOf(row, this.heat) ?? row.view;
    const url = entry ? this.source.url(entry) : "";
    if (side.picture.getAttribute("src") !== url) {
      side.gone.hidden = Boolean(url);
      side.picture.hidden = false;
      side.picture.src = url;
      side.frame.scrollTo(0, 0);
    }
    side.picture.alt = `${say("Rank {rank}", { rank: row.rank })}: ${row.prompt ?? ""}`;
    side.caption.replaceChildren(...facts(row), ...reasonsOf(row, this.heat ?? 0));
    side.pick.hidden = !this.source.toggle;
    const picked = Boolean(this.source.isPicked?.(row));
    side.pick.textContent = picked ? `\u2713 ${say("Picked")}` : say("Pick");
    side.pick.setAttribute("aria-pressed", String(picked));
    side.box.classList.toggle("tm-picked", picked);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // the page has shortcuts of its own for these keys
    const onButton = event.target instanceof HTMLButtonElement;
    const actions = {
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      ArrowUp: () => this.step(-1),
      ArrowDown: () => this.step(1),
      Home: () => this.step(-Infinity),
      End: () => this.step(Infinity),
      c: () => this.compare(),
      x: () => this.swap(),
      z: () => this.setActual(!this.actual),
      w: () => this.ask(),
      h: () => this.toggleHeat(),
      " ": () => this.toggle(this.place),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || (onButton && event.key === " ")) return; // a space on a button presses it
    event.preventDefault();
    action();
  }
}
