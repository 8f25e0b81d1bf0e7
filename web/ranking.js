// The list under the sheet on the Rank node: rank, score, seed and prompt of every picture.
// Plain DOM, so it works with both renderers of the page; texts go in as textContent only.

import { app } from "../../scripts/app.js";

const HEIGHT = 150;

function cell(tag, text, style) {
  const element = document.createElement(tag);
  element.textContent = text;
  Object.assign(element.style, { padding: "2px 8px", ...style });
  return element;
}

function row(record, best) {
  const line = document.createElement("tr");
  const number = { textAlign: "right", fontVariantNumeric: "tabular-nums", whiteSpace: "nowrap" };
  const score = record.score.toFixed(3);
  line.append(
    cell("td", `#${record.rank}`, { ...number, color: best ? "#f5c451" : "inherit" }),
    cell("td", record.score > 0 ? `+${score}` : score, number),
    cell("td", record.seed === null ? "" : String(record.seed), { ...number, opacity: "0.65" }),
    cell("td", record.prompt, { opacity: "0.85" }),
  );
  return line;
}

function show(container, records) {
  const table = document.createElement("table");
  Object.assign(table.style, { borderCollapse: "collapse", width: "100%" });
  const head = document.createElement("tr");
  for (const title of ["rank", "score", "seed", "prompt"]) {
    head.append(cell("th", title, { textAlign: title === "prompt" ? "left" : "right", opacity: "0.65" }));
  }
  table.append(head, ...records.map((record) => row(record, record.rank === 1)));
  container.replaceChildren(table);
}

function addRanking(node) {
  const container = document.createElement("div");
  container.className = "tastemaker-ranking";
  Object.assign(container.style, {
    overflow: "auto",
    fontSize: "12px",
    fontFamily: "system-ui, sans-serif",
    color: "var(--input-text, #ddd)",
    background: "var(--comfy-input-bg, #222)",
    borderRadius: "6px",
  });
  container.append(cell("div", "Run the graph to see the ranking.", { opacity: "0.65", padding: "8px" }));
  const widget = node.addDOMWidget("ranking", "tastemaker_ranking", container, {
    serialize: false,
    getMinHeight: () => HEIGHT,
    getMaxHeight: () => HEIGHT,
  });
  widget.serialize = false; // a display, not a setting: nothing of it goes into the workflow

  const before = node.onExecuted;
  node.onExecuted = function (message) {
    before?.apply(this, arguments);
    if (message?.tastemaker_ranking) show(container, message.tastemaker_ranking);
  };
}

app.registerExtension({
  name: "tastemaker.ranking",
  nodeCreated(node) {
    if (node.comfyClass === "TastemakerRank") addRanking(node);
  },
});
