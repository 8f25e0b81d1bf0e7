// What a node has to say, on the node: how many pictures, what a file holds, what is wrong. Texts go in as textContent.

import { app } from "../../scripts/app.js";
import { Culling } from "./cull/node.js";
import { addStyle, element } from "./shared/dom.js";
import { addPanel } from "./shared/panel.js";
import { shownParts } from "./shared/tables.js";
import { say } from "./shared/words.js";

const HEIGHT = {
  TastemakerLoadImages: 150,
  TastemakerLoadLoRA: 50,
  TastemakerScore: 70,
  TastemakerVoteResult: 190,
  TastemakerEvaluate: 150,
  TastemakerFID: 110,
  TastemakerReport: 150,
};

const CULLED = ["TastemakerLoadImages", "TastemakerScore"];

/** What stands there before there is anything to say. */
function nothingYet(node) {
  if (node.comfyClass === "TastemakerVoteResult") return say("Vote first, then store the votes: that shows the result here.");
  return say("Run the graph to see what was found.");
}

function addReport(node, height) {
  addStyle();
  const text = element("div", "tm-empty", { text: nothingYet(node) });
  const container = element("div", "tastemaker-report", {
    attributes: { role: "log", "aria-label": say("Report"), tabindex: "0" }, // a long list scrolls, with the keyboard too
    children: [text],
  });
  const culling = CULLED.includes(node.comfyClass) ? new Culling(node) : null;
  if (culling) container.prepend(culling.element);
  culling?.listen(container);
  const show = (message) => {
    text.classList.remove("tm-empty");
    text.replaceChildren(...shownParts(message.tastemaker_report.join("\n")));
    culling?.show(message);
  };
  addPanel(node, {
    name: "report",
    label: say("Report"),
    element: container,
    output: "tastemaker_report",
    height,
    show,
    configured: () => culling?.draw(),
    removed: () => culling?.close(),
  });
}

app.registerExtension({
  name: "tastemaker.report",
  nodeCreated(node) {
    const height = HEIGHT[node.comfyClass];
    if (height) addReport(node, height);
  },
});
