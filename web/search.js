// The panel on the Search node: joins web/search/ to the page.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { merged } from "./search/model.js";
import { SearchPanel } from "./search/panel.js";
import { element } from "./shared/dom.js";
import { executionId, nodeAt } from "./shared/outputs.js";
import { addPanel, rootGraph } from "./shared/panel.js";
import { address } from "./shared/widgets.js";
import { say } from "./shared/words.js";

const TYPE = "TastemakerSearch";
const EVENT = "tastemaker.search";
const HEIGHT = 380;
const running = new Map(); // what runs have said so far, by the host's id of their node: an undo makes the node anew

function addSearch(node) {
  const container = element("div", "tastemaker-search");
  const panel = new SearchPanel(container, address);
  node.tastemakerSearch = panel;
  addPanel(node, {
    name: "search",
    label: say("Search"),
    element: container,
    output: "tastemaker_search",
    height: HEIGHT,
    show: (message) => panel.show(message.tastemaker_search[0]),
    held: () => {
      const known = running.get(executionId(rootGraph(), node));
      return known && { tastemaker_search: [known] };
    },
  });
}

/** A message of a run, kept until the run has ended. */
function heard({ detail }) {
  const id = String(detail.node);
  running.set(id, merged(running.get(id) ?? null, detail));
  nodeAt(rootGraph(), id)?.tastemakerSearch?.show(detail);
}

/** A run that ended, by itself or not: what it said last is no longer what goes on. */
function ended(stopped) {
  for (const id of running.keys()) {
    if (stopped) nodeAt(rootGraph(), id)?.tastemakerSearch?.stop();
  }
  running.clear();
}

app.registerExtension({
  name: "tastemaker.search",
  setup() {
    api.addEventListener(EVENT, heard);
    for (const event of ["execution_interrupted", "execution_error"]) api.addEventListener(event, () => ended(true));
    api.addEventListener("execution_success", () => ended(false));
  },
  nodeCreated(node) {
    if (node.comfyClass === TYPE) addSearch(node);
  },
});
