// Answers on the Why This Score node: joins web/why/ to the page.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addStyle, element } from "./shared/dom.js";
import { addPanel } from "./shared/panel.js";
import { address, hiddenWidget } from "./shared/widgets.js";
import { say } from "./shared/words.js";
import { answerParts, learnAnswers, learnTrouble } from "./why/answers.js";

const WIDTH = 340;
const HEIGHT = 300;

function addAnswers(node) {
  addStyle(new URL("./why/why.css", import.meta.url).href);
  hiddenWidget(node, "pictures");
  const container = element("div", "tastemaker-why", {
    attributes: { role: "log", "aria-label": say("Why these scores"), tabindex: "0" },
    children: [element("div", "tm-empty", { text: say("Run the graph. In the culling view, W asks about any picture.") })],
  });
  container.dataset.captureWheel = "true"; // the wheel scrolls the list, not the canvas
  for (const kind of ["pointerdown", "wheel"]) container.addEventListener(kind, (event) => event.stopPropagation());
  const show = (message) => {
    const rows = message.tastemaker_why;
    container.replaceChildren(...rows.map(answerCard));
    learnAnswers(rows);
  };
  addPanel(node, { name: "why", element: container, output: "tastemaker_why", height: HEIGHT, show });
  node.setSize([Math.max(WIDTH, node.size[0]), node.size[1]]);
}

function answerCard(row) {
  const maps = row.parts.map(({ reward, heat }) =>
    element("img", "tmw-map", { attributes: { src: address(heat), alt: say("Where {reward} looks", { reward }), title: reward, draggable: "false" } }),
  );
  return element("article", "tmw-card", {
    children: [
      element("div", "tmw-maps", { children: maps }),
      element("div", "tmw-words", { children: [element("strong", "", { text: row.name }), ...answerParts(row)] }),
    ],
  });
}

app.registerExtension({
  name: "tastemaker.why",
  setup() {
    api.addEventListener("execution_error", ({ detail }) => {
      if (detail?.exception_message) learnTrouble(detail.exception_message.trim());
    });
  },
  nodeCreated(node) {
    if (node.comfyClass === "TastemakerWhy") addAnswers(node);
  },
});
