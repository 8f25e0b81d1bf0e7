// The live chart on the Fine-Tune node: curves of every epoch, and what the model paints at fixed prompts.
// Plain DOM and SVG, so it works with both renderers of the page; texts go in as textContent only.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { panel } from "./training_chart.js";

const EVENT = "tastemaker.training";
const CHART_HEIGHT = 330;
const GRID_HEIGHT = 190;

function element(tag, style, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  Object.assign(made.style, style);
  return made;
}

function minutes(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s left`;
  return `${Math.round(seconds / 60)} min left`;
}

/** The figure that the comparison with the untrained model is about: of the watched reward, else of the first one. */
function compared(row) {
  const rewards = Object.entries(row.evaluation?.rewards ?? {});
  const [, figures] = rewards.find(([name]) => name.startsWith("watched: ")) ?? rewards[0] ?? [];
  return figures?.tuned;
}

function viewAddress(entry) {
  const query = new URLSearchParams({ filename: entry.filename, subfolder: entry.subfolder, type: entry.type });
  return api.apiURL(`/view?${query}`);
}

/**
 * What one node shows. `rows` has one object an epoch; `figures` the columns of it that the run's algorithm reports,
 * {name, title, floor, minus}; `grids` one {epoch, entry} for each sample grid.
 */
class TrainingView {
  constructor() {
    this.rows = [];
    this.figures = [];
    this.grids = [];
    this.element = element("div", {
      display: "flex",
      flexDirection: "column",
      gap: "6px",
      padding: "8px",
      boxSizing: "border-box",
      overflow: "hidden",
      fontFamily: "system-ui, sans-serif",
      fontSize: "12px",
      color: "var(--input-text, #ddd)",
      background: "var(--comfy-input-bg, #222)",
      borderRadius: "6px",
    });
    this.element.className = "tastemaker-training";
    this.status = element("div", { fontWeight: "600" }, "Run the graph to see the curves.");
    this.status.className = "tastemaker-training-status";
    this.status.setAttribute("role", "status");
    this.charts = element("div", { display: "grid", gridTemplateColumns: "1fr 1fr 1fr", gap: "6px" });
    this.samples = this.#sampleBox();
    this.element.append(this.status, this.charts, this.samples);
  }

  #sampleBox() {
    const box = element("div", { display: "none", flexDirection: "column", gap: "4px", minHeight: "0" });
    const line = element("div", { display: "flex", gap: "8px", alignItems: "center" });
    this.slider = element("input", { flex: "1" });
    Object.assign(this.slider, { type: "range", min: "0", max: "0", value: "0" });
    this.slider.setAttribute("aria-label", "epoch of the sample grid");
    this.label = element("span", { whiteSpace: "nowrap", opacity: "0.75" });
    this.picture = element("img", { width: "100%", maxHeight: `${GRID_HEIGHT}px`, objectFit: "contain" });
    this.picture.alt = "pictures of fixed prompts and seeds";
    this.slider.addEventListener("input", () => this.#showGrid());
    line.append(this.slider, this.label);
    box.append(line, this.picture);
    return box;
  }

  #showGrid() {
    const grid = this.grids[Number(this.slider.value)];
    if (!grid) return;
    this.label.textContent = grid.epoch === 0 ? "before training" : `after epoch ${grid.epoch}`;
    const address = viewAddress(grid.entry);
    if (this.picture.getAttribute("src") !== address) this.picture.src = address;
  }

  /** A message of the run: {state, epoch, epochs, seconds_left, rows, figures, grids}. */
  show(message) {
    if (message.rows) this.rows = message.rows;
    if (message.figures) this.figures = message.figures;
    if (message.grids && JSON.stringify(message.grids) !== JSON.stringify(this.grids)) {
      this.grids = message.grids;
      this.samples.style.display = this.grids.length ? "flex" : "none";
      this.slider.max = String(Math.max(0, this.grids.length - 1));
      this.slider.value = this.slider.max; // the newest
      this.#showGrid();
    }
    const parts = [message.state, message.epochs ? `epoch ${message.epoch} of ${message.epochs}` : ""];
    this.status.textContent = [...parts, minutes(message.seconds_left)].filter(Boolean).join("  \u00b7  ");
    this.#draw();
  }

  #draw() {
    const column = (name) => this.rows.map((row) => row[name]);
    if (this.rows.length === 0) return this.charts.replaceChildren();
    const reward = panel("reward", column("reward"), { spread: column("reward_std"), wide: true });
    if (reward) reward.style.gridColumn = "1 / -1";
    const less = (value, minus) => (typeof value === "number" ? value - minus : null);
    const changed = ({ name, minus }) => column(name).map((value) => less(value, minus));
    const panels = this.figures.map((figure) => panel(figure.title, changed(figure), { floor: figure.floor }));
    panels.push(panel("reward in comparisons", this.rows.map(compared)));
    this.charts.replaceChildren(...[reward, ...panels].filter(Boolean));
  }
}

function addTraining(node) {
  const view = new TrainingView();
  const height = CHART_HEIGHT + GRID_HEIGHT;
  const widget = node.addDOMWidget("training", "tastemaker_training", view.element, {
    serialize: false,
    getMinHeight: () => height,
    getMaxHeight: () => height + 200,
  });
  widget.serialize = false; // a display, not a setting: nothing of it goes into the workflow
  node.tastemakerTraining = view;

  const before = node.onExecuted;
  node.onExecuted = function (message) {
    before?.apply(this, arguments);
    if (message?.tastemaker_training) view.show(message.tastemaker_training[0]);
  };
}

app.registerExtension({
  name: "tastemaker.training",
  setup() {
    api.addEventListener(EVENT, ({ detail }) => {
      const node = app.graph.getNodeById(Number(detail.node)) ?? app.graph.getNodeById(detail.node);
      node?.tastemakerTraining?.show(detail);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass === "TastemakerFineTune") addTraining(node);
  },
});
