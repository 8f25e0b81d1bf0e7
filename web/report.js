// What Load Images, Load Taste LoRA, Score and others have to say, on the node: how many, and what is wrong with which.
// Plain DOM, so it works with both renderers of the page; texts go in as textContent only.

import { app } from "../../scripts/app.js";

const HEIGHT = {
  TastemakerLoadImages: 150,
  TastemakerLoadLoRA: 50,
  TastemakerScore: 70,
  TastemakerVoteResult: 190,
  TastemakerEvaluate: 150,
  TastemakerFID: 110,
  TastemakerReport: 150,
};

function addReport(node, height) {
  const container = document.createElement("div");
  container.className = "tastemaker-report";
  container.setAttribute("role", "log");
  container.setAttribute("aria-label", "Report");
  container.tabIndex = 0; // a long list scrolls, with the keyboard too
  container.textContent = "Run the graph to see what was found.";
  Object.assign(container.style, {
    overflow: "auto",
    whiteSpace: "pre-wrap",
    overflowWrap: "anywhere",
    userSelect: "text",
    boxSizing: "border-box",
    padding: "6px 8px",
    fontSize: "12px",
    lineHeight: "1.4",
    fontFamily: "system-ui, sans-serif",
    color: "var(--input-text, #ddd)",
    background: "var(--comfy-input-bg, #222)",
    borderRadius: "6px",
  });
  const widget = node.addDOMWidget("report", "tastemaker_report", container, {
    serialize: false,
    getMinHeight: () => height,
  });
  widget.serialize = false; // a display, not a setting: nothing of it goes into the workflow

  const before = node.onExecuted;
  node.onExecuted = function (message) {
    before?.apply(this, arguments);
    if (message?.tastemaker_report) container.textContent = message.tastemaker_report.join("\n");
  };
}

app.registerExtension({
  name: "tastemaker.report",
  nodeCreated(node) {
    const height = HEIGHT[node.comfyClass];
    if (height) addReport(node, height);
  },
});
