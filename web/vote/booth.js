// The voting booth: two pictures large, side by side, and the keys that judge them. A modal dialog over the page.

import { button, element, hasFewPixels } from "../shared/dom.js";
import { RETRACTED, choices, lastVoted, nextOpen, withVote } from "./model.js";
import { say } from "../shared/words.js";

const AHEAD = 2; // pairs fetched before they are shown
const KEYS = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowDown: "tie",
  ArrowUp: "skip",
  " ": "skip",
};

/** A vote in words. */
function saidChoice(choice) {
  return { left: say("Left"), right: say("Right"), tie: say("Tie"), skip: say("Skipped") }[choice];
}

function pane(side) {
  const picture = element("img", "tmv-picture", { attributes: { alt: side === "left" ? say("left picture") : say("right picture"), draggable: "false" } });
  const gone = element("div", "tmv-gone", { text: say("This picture is no longer there. Close, and run the graph again.") });
  gone.hidden = true;
  const box = element("div", `tmv-pane tmv-${side}`, { children: [picture, gone] });
  picture.addEventListener("load", () => {
    picture.classList.toggle("tmv-pixels", hasFewPixels(picture));
  });
  picture.addEventListener("error", () => {
    gone.hidden = false;
    picture.hidden = true;
  });
  return { box, picture, gone };
}

/**
 * The booth of one node.
 * `host` gives: `rows()`, `summary()`, `votes()`, `setVotes(list)`, `url(entry)`, `store()`, `closed()`.
 */
export class Booth {
  constructor(host) {
    this.host = host;
    this.place = 0;
    this.ahead = [];
    this.left = pane("left");
    this.right = pane("right");
    this.question = element("h1", "tmv-question");
    this.count = element("span", "tmv-count");
    this.bar = element("progress", "tmv-bar", { attributes: { "aria-label": say("Pairs voted on"), max: "1", value: "0" } });
    this.said = element("span", "tmv-said", { attributes: { role: "status" } });
    this.prompt = element("p", "tmv-prompt", { attributes: { tabindex: "0", "aria-label": say("Prompt") } });
    this.panes = element("div", "tmv-panes", { children: [this.left.box, this.right.box] });
    this.over = element("div", "tmv-over", {
      children: [
        element("p", "", { text: say("Every pair has your vote. Thank you.") }),
        (this.finish = button("tm-command tm-main", say("Store votes"), say("Close and run the graph, which stores the votes"), () =>
          this.store(),
        )),
      ],
    });
    this.dialog = element("dialog", "tastemaker-booth tastemaker-overlay", {
      attributes: { "aria-label": say("Vote"), tabindex: "-1" },
      children: [this.head(), this.panes, this.over, this.prompt, this.buttons()],
    });
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("close", () => {
      this.dialog.remove();
      this.host.closed();
    });
    for (const kind of ["pointerdown", "wheel", "contextmenu"]) {
      this.dialog.addEventListener(kind, (event) => event.stopPropagation());
    }
  }

  head() {
    const close = button("tm-command", say("Close"), say("Close; votes stay in the node (Escape)"), () => this.dialog.close());
    return element("div", "tmv-head", {
      children: [this.question, this.said, element("span", "tmv-space"), this.bar, this.count, close],
    });
  }

  buttons() {
    const made = (key, text, label, action) => {
      const one = button("tm-command", "", label, action);
      one.append(element("kbd", "", { text: key }), element("span", "", { text }));
      return one;
    };
    this.votes = [
      made("\u2190", say("Left"), say("The left one (left arrow)"), () => this.vote("left")),
      made("\u2193", say("Tie"), say("Neither is better (down arrow)"), () => this.vote("tie")),
      made("\u2192", say("Right"), say("The right one (right arrow)"), () => this.vote("right")),
      made("\u2191", say("Skip"), say("No vote on this pair (up arrow or space)"), () => this.vote("skip")),
    ];
    this.undoButton = made("\u232b", say("Undo"), say("Take the last vote back (backspace or U)"), () => this.undo());
    const line = [...this.votes, element("span", "tmv-gap"), this.undoButton];
    return element("div", "tm-commands", { children: line });
  }

  /** Show the first pair without a vote. */
  open() {
    if (this.dialog.open || !this.host.rows().length) return;
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.said.textContent = "";
    this.place = Math.max(0, nextOpen(this.given(), 0));
    this.draw();
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  given() {
    return choices(this.host.rows(), this.host.votes());
  }

  /** Whether the pictures on the screen are this pair's, and whole. */
  ready() {
    return [this.left.picture, this.right.picture].every((one) => one.complete && one.naturalWidth > 0);
  }

  vote(choice) {
    const row = this.host.rows()[this.place];
    if (!row || this.finished) return;
    const broken = !this.left.gone.hidden || !this.right.gone.hidden;
    if (choice !== "skip" ? !this.ready() : !this.ready() && !broken) return; // nobody judges what is not there yet
    this.host.setVotes(withVote(this.host.votes(), row, choice, Date.now()));
    this.said.textContent = saidChoice(choice);
    const next = nextOpen(this.given(), this.place);
    if (next >= 0) this.place = next;
    this.draw();
  }

  undo() {
    const place = lastVoted(this.host.rows(), this.host.votes());
    if (place < 0) {
      this.said.textContent = say("Nothing to undo");
      return;
    }
    this.host.setVotes(withVote(this.host.votes(), this.host.rows()[place], RETRACTED, Date.now()));
    this.place = place;
    this.said.textContent = say("Undone");
    this.draw();
  }

  store() {
    this.dialog.close();
    this.host.store();
  }

  draw() {
    const rows = this.host.rows();
    const given = this.given();
    const done = given.filter(Boolean).length;
    this.finished = done === rows.length;
    this.question.textContent = this.host.summary().question ?? "";
    this.count.textContent = say("{done} of {all}", { done, all: rows.length });
    this.bar.max = rows.length;
    this.bar.value = done;
    this.panes.hidden = this.finished;
    this.prompt.hidden = this.finished;
    this.over.hidden = !this.finished;
    for (const one of this.votes) one.disabled = this.finished;
    this.undoButton.disabled = lastVoted(rows, this.host.votes()) < 0;
    if (this.finished) {
      this.finish.focus();
      return;
    }
    const row = rows[this.place];
    this.prompt.textContent = row.prompt ?? "";
    this.prompt.scrollTop = 0;
    this.fill(this.left, row.left);
    this.fill(this.right, row.right);
    this.fetch(rows, given);
    this.dialog.focus(); // not a button: space is a skip
  }

  fill(side, entry) {
    const url = this.host.url(entry);
    if (side.picture.getAttribute("src") === url && side.gone.hidden) return;
    side.gone.hidden = true;
    side.picture.hidden = false;
    side.picture.removeAttribute("src"); // the last pair must not stay while the next one loads
    side.picture.src = url;
  }

  /** Ask for the next pairs, so that they are there when their turn comes. */
  fetch(rows, given) {
    this.ahead = [];
    for (let place = this.place + 1; place < rows.length && this.ahead.length < 2 * AHEAD; place += 1) {
      if (given[place]) continue;
      for (const entry of [rows[place].left, rows[place].right]) {
        const picture = new Image();
        picture.src = this.host.url(entry);
        this.ahead.push(picture);
      }
    }
  }

  key(event) {
    event.stopPropagation(); // the page has shortcuts of its own
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const onButton = event.target instanceof HTMLButtonElement;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (onButton && key === " ") return; // a space on a button presses it
    const choice = KEYS[key];
    if (!choice && key !== "Backspace" && key !== "u") return;
    event.preventDefault();
    if (event.repeat) return; // a key held down is one vote
    if (choice) this.vote(choice);
    else this.undo();
  }
}
