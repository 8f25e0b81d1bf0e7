// Clicks on the Learn Taste node: joins web/taste/ to the page.

import { app } from "../../scripts/app.js";
import { Culling } from "./cull/node.js";
import { element } from "./shared/dom.js";
import { addPanel, rootGraph } from "./shared/panel.js";
import { address, hiddenWidget, setWidget } from "./shared/widgets.js";
import { formatClicks, parseClicks } from "./taste/model.js";
import { TastePanel } from "./taste/panel.js";
import { say } from "./shared/words.js";

const TYPE = "TastemakerLearnTaste";
const HEIGHT = 330;

function addTeaching(node) {
  const clicks = hiddenWidget(node, "clicks");
  const container = element("div", "tastemaker-taste");
  const culling = new Culling(node);
  const panel = new TastePanel(container, {
    clicks: () => parseClicks(clicks?.value),
    setClicks: (list) => setWidget(clicks, formatClicks(list)),
    url: address,
    run: () => app.queuePrompt(0),
    now: () => Date.now(),
    cull: culling.element,
  });
  culling.listen(container);
  node.tastemakerTaste = panel;
  addPanel(node, {
    name: "teaching",
    label: say("Your taste"),
    element: container,
    output: "tastemaker_taste",
    height: HEIGHT,
    show: (message) => {
      panel.show(message.tastemaker_taste, message.tastemaker_taste_summary?.[0], message.tastemaker_picture?.[0]);
      culling.show(message);
    },
    configured: () => {
      panel.draw();
      culling.draw();
    },
    removed: () => {
      panel.view.close();
      culling.close();
    },
  });
}

/** The node to teach: a selected one, else the first that has pictures. */
function chosen() {
  const graph = app.canvas?.graph ?? rootGraph();
  const nodes = (graph?._nodes ?? []).filter((node) => node.tastemakerTaste);
  const selected = [...(app.canvas?.selectedItems ?? [])];
  return nodes.find((node) => selected.includes(node)) ?? nodes.find((node) => node.tastemakerTaste.rows.length);
}

app.registerExtension({
  name: "tastemaker.taste",
  commands: [
    { id: "Tastemaker.Teach", label: "Teach your taste (Tastemaker)", function: () => chosen()?.tastemakerTaste.view.open() },
  ],
  keybindings: [{ commandId: "Tastemaker.Teach", combo: { key: "t", alt: true } }],
  nodeCreated(node) {
    if (node.comfyClass === TYPE) addTeaching(node);
  },
});
