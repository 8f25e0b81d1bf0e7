// The live chart on the nodes that train: joins web/training/ to the page.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { addPanel, rootGraph } from "./shared/panel.js";
import { executionId, nodeAt } from "./shared/outputs.js";
import { address } from "./shared/widgets.js";
import { joined, rowsOf } from "./training/model.js";
import { TrainingView } from "./training/view.js";
import { say } from "./shared/words.js";

const TRAINERS = ["TastemakerFineTune", "TastemakerPreferenceTune"];
const EVENT = "tastemaker.training";
const HEIGHT = 520;
const running = new Map(); // what runs have said so far, by the host's id of their node: an undo makes the node anew

function addTraining(node) {
  const view = new TrainingView(address);
  node.tastemakerTraining = view;
  addPanel(node, {
    name: "training",
    label: say("Training"),
    element: view.element,
    output: "tastemaker_training",
    height: HEIGHT,
    most: HEIGHT + 200,
    show: (message) => view.show(message.tastemaker_training[0]),
    held: () => {
      const said = running.get(executionId(rootGraph(), node));
      return said && { tastemaker_training: [said] };
    },
  });
}

/** A message of a run, kept until the run has ended. */
function heard({ detail }) {
  const said = joined(running.get(String(detail.node)), detail);
  running.set(String(detail.node), said);
  nodeAt(rootGraph(), detail.node)?.tastemakerTraining?.show(said);
  if (said.missing && detail.rows) catchUp(detail);
}

/** A page that was opened while a run went on reads of its first epochs in the run's file. */
async function catchUp({ node, log }) {
  const answer = await fetch(address(log), { cache: "no-store" }).catch(() => null);
  if (!answer?.ok) return; // the next epoch tries again
  const rows = rowsOf(await answer.text());
  const said = running.get(String(node));
  if (!said || said.rows.at(-1).epoch > rows.length) return; // it has ended, or gone on, meanwhile
  const whole = { ...said, rows, missing: false };
  running.set(String(node), whole);
  nodeAt(rootGraph(), node)?.tastemakerTraining?.show(whole);
}

/** A run that ended, by itself or not: what it said last is no longer what goes on. */
function ended(stopped) {
  for (const id of running.keys()) {
    if (stopped) nodeAt(rootGraph(), id)?.tastemakerTraining?.stop();
  }
  running.clear();
}

app.registerExtension({
  name: "tastemaker.training",
  setup() {
    api.addEventListener(EVENT, heard);
    for (const event of ["execution_interrupted", "execution_error"]) api.addEventListener(event, () => ended(true));
    api.addEventListener("execution_success", () => ended(false));
  },
  nodeCreated(node) {
    if (TRAINERS.includes(node.comfyClass)) addTraining(node);
  },
});
