// The gallery on the Rank node: joins web/gallery/ to the page. Plain DOM, so it works with both renderers.

import { app } from "../../scripts/app.js";
import { Gallery } from "./gallery/gallery.js";
import { formatPicks, parsePicks } from "./gallery/model.js";
import { address, hiddenWidget, setWidget } from "./shared/widgets.js";

const WIDTH = 440; // of a new node: three columns of pictures, and the buttons in a row
const HEIGHT = 400;
const VIEW = "tastemaker_view"; // the node's property that remembers grid or list

function addGallery(node) {
  const picks = hiddenWidget(node, "picks");
  const container = document.createElement("div");
  container.className = "tastemaker-ranking";
  const gallery = new Gallery(container, {
    url: address,
    picks: () => parsePicks(picks?.value),
    setPicks: (ids) => {
      setWidget(picks, formatPicks(ids));
      node.graph?.setDirtyCanvas?.(true, true);
    },
    view: () => node.properties?.[VIEW] ?? "grid",
    setView: (name) => {
      node.properties[VIEW] = name;
    },
  });
  const widget = node.addDOMWidget("ranking", "tastemaker_ranking", container, {
    serialize: false,
    getMinHeight: () => HEIGHT,
  });
  widget.serialize = false; // a display, not a setting: nothing of it goes into the workflow
  node.setSize([Math.max(WIDTH, node.size[0]), node.size[1]]); // a workflow's own size comes after this

  const show = (message) => {
    if (!message?.tastemaker_ranking) return;
    gallery.show(message.tastemaker_ranking, message.tastemaker_summary?.[0], message.tastemaker_sheet?.[0]);
  };
  const executed = node.onExecuted;
  node.onExecuted = function (message) {
    executed?.apply(this, arguments);
    show(message);
  };
  const configured = node.onConfigure;
  node.onConfigure = function () {
    configured?.apply(this, arguments);
    gallery.setView(node.properties?.[VIEW]);
    gallery.drawPicks();
  };
  const removed = node.onRemoved;
  node.onRemoved = function () {
    removed?.apply(this, arguments);
    gallery.viewer.close();
  };
}

app.registerExtension({
  name: "tastemaker.ranking",
  nodeCreated(node) {
    if (node.comfyClass === "TastemakerRank") addGallery(node);
  },
});
