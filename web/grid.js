// The panel on the Grid node: joins web/grid/ to the page.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { merged } from "./grid/model.js";
import { GridPanel } from "./grid/panel.js";
import { element } from "./shared/dom.js";
import { executionId, nodeAt } from "./shared/outputs.js";
import { addPanel, rootGraph } from "./shared/panel.js";
import { address } from "./shared/widgets.js";
import { say } from "./shared/words.js";

const TYPE = "TastemakerGrid";
const EVENT = "tastemaker.grid";
const WIDTH = 460; // of a new node
const HEIGHT = 420;
const running = new Map(); // what runs have said so far, by the host's id of their node: an undo makes the node anew

function addGrid(node) {
  const container = element("div", "tastemaker-settings-grid");
  const panel = new GridPanel(container, address);
  node.tastemakerGrid = panel;
  addPanel(node, {
    name: "grid",
    label: say("Grid"),
    element: container,
    output: "tastemaker_grid",
    height: HEIGHT,
    show: (message) => panel.show(message.tastemaker_grid[0]),
    held: () => {
      const known = running.get(executionId(rootGraph(), node));
      const made = known?.pictures.map((entry, place) => [place, entry]).filter(([, entry]) => entry);
      return known && { tastemaker_grid: [{ ...known, made }] };
    },
    removed: () => panel.viewer.close(),
  });
  node.setSize([Math.max(WIDTH, node.size[0]), node.size[1]]); // a workflow's own size comes after this
}

/** A message of a run, kept until the run has ended. */
function heard({ detail }) {
  const id = String(detail.node);
  const known = merged(running.get(id) ?? null, detail);
  if (known) running.set(id, known);
  nodeAt(rootGraph(), id)?.tastemakerGrid?.show(detail);
}

/** A run that ended, by itself or not: what it said last is no longer what goes on. */
function ended(stopped) {
  for (const id of running.keys()) {
    if (stopped) nodeAt(rootGraph(), id)?.tastemakerGrid?.stop();
  }
  running.clear();
}

app.registerExtension({
  name: "tastemaker.grid",
  setup() {
    api.addEventListener(EVENT, heard);
    for (const event of ["execution_interrupted", "execution_error"]) api.addEventListener(event, () => ended(true));
    api.addEventListener("execution_success", () => ended(false));
  },
  nodeCreated(node) {
    if (node.comfyClass === TYPE) addGrid(node);
  },
});
