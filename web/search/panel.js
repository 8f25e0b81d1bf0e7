// The Search node's panel: the family tree of one prompt's pictures, and the report below it.

import { addStyle, element } from "../shared/dom.js";
import { CELL, merged, tree } from "./model.js";
import { say } from "../shared/words.js";

const SVG = "http://www.w3.org/2000/svg";
const PICTURE = CELL - 6;

export class SearchPanel {
  constructor(container, address) {
    addStyle(new URL("./search.css", import.meta.url).href);
    this.address = address;
    this.known = null;
    this.chosen = null; // the prompt that was picked by hand; else the one that is searched
    this.status = element("div", "tms-status", {
      text: say("Run the graph to see the pictures live and die."),
      attributes: { role: "status" },
    });
    this.choice = element("select", "tms-choice", {
      attributes: { "aria-label": say("Prompt") },
      on: { change: () => this.choose(Number(this.choice.value)) },
    });
    this.choice.hidden = true;
    this.tree = element("div", "tms-tree", { attributes: { tabindex: "0", "aria-label": say("Family tree") } });
    this.report = element("div", "tms-report", { attributes: { role: "log", "aria-label": say("Report"), tabindex: "0" } });
    container.append(this.status, this.choice, this.tree, this.report);
  }

  /** Show a message of a run that goes on, or the whole of one that is done. */
  show(message) {
    if (message.state === "starting") this.chosen = null;
    this.known = merged(this.known, message);
    this.draw();
  }

  /** A run that ended early. */
  stop() {
    if (!this.known || this.known.state === "done") return;
    this.known = { ...this.known, state: say("stopped") };
    this.draw();
  }

  choose(prompt) {
    this.chosen = prompt;
    this.draw();
  }

  draw() {
    const { known } = this;
    const place = Math.min(this.chosen ?? known.prompt ?? 0, known.prompts.length - 1);
    this.status.textContent = known.state;
    this.report.textContent = known.report ?? "";
    this.report.hidden = !known.report;
    this.choice.hidden = known.prompts.length < 2;
    this.choice.replaceChildren(
      ...known.prompts.map((text, i) => element("option", "", { text, attributes: { value: String(i) } })),
    );
    this.choice.value = String(place);
    this.tree.replaceChildren(this.family(known.looks[place] ?? []));
  }

  family(looks) {
    const { cells, lines, rows, width, height } = tree(looks);
    const inside = element("div", "tms-family");
    inside.style.width = `${width}px`;
    inside.style.height = `${height}px`;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("width", String(width));
    svg.setAttribute("height", String(height));
    for (const [x1, y1, x2, y2] of lines) {
      const path = document.createElementNS(SVG, "path");
      const [from, to, half] = [y1 + 16 + PICTURE, y2 + 16, PICTURE / 2];
      const middle = (from + to) / 2;
      path.setAttribute(
        "d",
        `M${x1 + half} ${from}C${x1 + half} ${middle} ${x2 + half} ${middle} ${x2 + half} ${to}`,
      );
      svg.append(path);
    }
    inside.append(svg);
    for (const { y, text } of rows) {
      const label = element("div", "tms-row", { text });
      label.style.top = `${y}px`;
      inside.append(label);
    }
    for (const cell of cells) inside.append(this.picture(cell));
    return inside;
  }

  picture({ x, y, entry, score, alive, best }) {
    const words = [
      say("score {score}", { score: score.toFixed(3) }),
      ...(best ? [say("the best")] : alive ? [] : [say("dropped")]),
    ].join(", ");
    const kind = `tms-picture${alive ? "" : " tms-dead"}${best ? " tms-best" : ""}`;
    const made = entry
      ? element("img", kind, { attributes: { src: this.address(entry), alt: words, title: words, loading: "lazy" } })
      : element("div", kind, { attributes: { title: words } });
    made.style.left = `${x}px`;
    made.style.top = `${y + 16}px`;
    return made;
  }
}
