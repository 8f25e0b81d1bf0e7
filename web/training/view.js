// What the Fine-Tune node shows: curves of every epoch, and the model's pictures of fixed prompts.

import { addStyle, element } from "../shared/dom.js";
import { chart } from "./chart.js";
import { comparisons, heldOut, keptEpoch, keptLine, statusLine, stoppedLine } from "./model.js";
import { say } from "../shared/words.js";

/**
 * `rows` has one object an epoch; `figures` the columns of it that the run's algorithm reports, {name, title, floor,
 * minus, if_any}; `grids` one {epoch, entry} for each sample grid; `url(entry)` is where one is served.
 */
export class TrainingView {
  constructor(url) {
    addStyle();
    this.url = url;
    this.rows = [];
    this.figures = [];
    this.grids = [];
    this.epochs = 0;
    this.status = element("div", "tm-status tastemaker-training-status tm-empty", {
      text: say("Run the graph to see the curves."),
      attributes: { role: "status" },
    });
    this.charts = element("div", "tm-charts");
    this.samples = this.#sampleBox();
    this.element = element("div", "tastemaker-training", { children: [this.status, this.charts, this.samples] });
  }

  #sampleBox() {
    this.slider = element("input", "", {
      attributes: { type: "range", min: "0", max: "0", value: "0", "aria-label": say("epoch of the sample grid") },
      on: { input: () => this.#showGrid() },
    });
    this.label = element("span");
    this.picture = element("img", "", { attributes: { alt: say("pictures of fixed prompts and seeds") } });
    const line = element("div", "tm-samples-line", { children: [this.slider, this.label] });
    const box = element("div", "tm-samples", { children: [line, this.picture] });
    box.hidden = true;
    return box;
  }

  #showGrid() {
    const grid = this.grids[Number(this.slider.value)];
    if (!grid) return;
    this.label.textContent = grid.epoch === 0 ? say("before training") : say("after epoch {epoch}", { epoch: grid.epoch });
    const source = this.url(grid.entry);
    if (this.picture.getAttribute("src") !== source) this.picture.src = source;
  }

  /** A message of the run: {state, epoch, epochs, seconds_left, rows, figures, grids}. */
  show(message) {
    if (message.rows) this.rows = message.rows;
    if (message.figures) this.figures = message.figures;
    if (message.grids && JSON.stringify(message.grids) !== JSON.stringify(this.grids)) {
      this.grids = message.grids;
      this.samples.hidden = !this.grids.length;
      this.slider.max = String(Math.max(0, this.grids.length - 1));
      this.slider.value = this.slider.max; // the newest
      this.#showGrid();
    }
    this.epochs = message.epochs ?? this.epochs;
    this.#say([statusLine(message), keptLine(this.rows)].filter(Boolean).join("  \u00b7  "));
    this.#draw();
  }

  /** The run was cancelled, or failed: what is finished is kept. */
  stop() {
    this.#say(stoppedLine(this.rows, this.epochs));
  }

  #say(text) {
    this.status.classList.remove("tm-empty");
    this.status.textContent = text;
  }

  #draw() {
    const column = (name) => this.rows.map((row) => row[name]);
    if (this.rows.length === 0) return this.charts.replaceChildren();
    const kept = keptEpoch(this.rows);
    const mark = kept && kept < this.rows.length ? kept - 1 : null; // the last needs no mark
    const reward = chart(say("reward"), column("reward"), { std: column("reward_std"), wide: true, mark });
    if (reward) reward.style.gridColumn = "1 / -1";
    const less = (value, minus) => (typeof value === "number" ? value - minus : null);
    const changed = ({ name, minus }) => column(name).map((value) => less(value, minus));
    const some = ({ name, if_any }) => !if_any || column(name).some((value) => value);
    const own = this.figures.filter(some).map((figure) => chart(figure.title, changed(figure), { floor: figure.floor }));
    const asked = chart(say("held-out pairs"), this.rows.map(heldOut), { floor: 0.5 });
    const judged = comparisons(this.rows).map(({ title, values }) => chart(title, values, { mark }));
    // what says whether the pictures stay good stands before what says how learning goes
    return this.charts.replaceChildren(...[reward, ...judged, asked, ...own].filter(Boolean));
  }
}
