// The gallery on the Rank node: joins web/gallery/ to the page.

import { app } from "../../scripts/app.js";
import { formatMarks, parseHand } from "./cull/model.js";
import { Gallery } from "./gallery/gallery.js";
import { formatPicks, parsePicks } from "./gallery/model.js";
import { element } from "./shared/dom.js";
import { addPanel } from "./shared/panel.js";
import { address, hiddenWidget, setWidget } from "./shared/widgets.js";
import { say } from "./shared/words.js";
import { askWhy } from "./why/ask.js";

const WIDTH = 440; // of a new node: three columns of pictures, and the buttons in a row
const HEIGHT = 400;
const VIEW = "tastemaker_view"; // the node's property that remembers grid or list

function addGallery(node) {
  const picks = hiddenWidget(node, "picks");
  const marks = hiddenWidget(node, "marks");
  const container = element("div", "tastemaker-ranking");
  const gallery = new Gallery(container, {
    url: address,
    own: () => {
      const hand = parseHand(marks?.value);
      return { marks: hand.marks, picks: new Set([...parsePicks(picks?.value), ...hand.picks]) };
    },
    write: (own) => {
      const texts = [[marks, formatMarks(own.marks)], [picks, formatPicks(own.picks)]];
      for (const [widget, text] of texts) if (widget && widget.value !== text) setWidget(widget, text);
      node.graph?.setDirtyCanvas?.(true, true);
    },
    run: () => app.queuePrompt(0),
    why: (ids) => askWhy(node, ids),
    view: () => node.properties?.[VIEW] ?? "grid",
    setView: (name) => {
      node.properties[VIEW] = name;
    },
  });
  addPanel(node, {
    name: "ranking",
    label: say("Ranking"),
    element: container,
    output: "tastemaker_ranking",
    height: HEIGHT,
    show: (message) =>
      gallery.show(message.tastemaker_ranking, message.tastemaker_summary?.[0], message.tastemaker_sheet?.[0]),
    configured: () => {
      gallery.setView(node.properties?.[VIEW]);
      gallery.drawPicks();
    },
    removed: () => {
      gallery.viewer.close();
      gallery.cull.close();
    },
  });
  node.setSize([Math.max(WIDTH, node.size[0]), node.size[1]]); // a workflow's own size comes after this
}

app.registerExtension({
  name: "tastemaker.ranking",
  nodeCreated(node) {
    if (node.comfyClass === "TastemakerRank") addGallery(node);
  },
});
