// Asking why: the node Why This Score is found, or put behind the node that asks, and runs alone.

import { app } from "../../../scripts/app.js";
import { executionId } from "../shared/outputs.js";
import { rootGraph } from "../shared/panel.js";
import { setWidget } from "../shared/widgets.js";
import { say } from "../shared/words.js";

const TYPE = "TastemakerWhy";
const REWARD = "TASTE_REWARD";
const GAP = 60;

/** Where an input's link comes from: {node, slot}, or null. */
function origin(node, slot) {
  const link = node.getInputLink?.(slot);
  const from = link && node.graph?.getNodeById?.(link.origin_id);
  return from ? { node: from, slot: link.origin_slot } : null;
}

const inputs = (node) => (node.inputs ?? []).map((input, slot) => ({ input, from: origin(node, slot) })).filter((one) => one.from);

/** The first source of something on the way up from a node. */
function upwards(node, found, seen = new Set()) {
  if (seen.has(node)) return null;
  seen.add(node);
  for (const one of inputs(node)) if (found(one)) return one.from;
  for (const { from } of inputs(node)) {
    const further = upwards(from.node, found, seen);
    if (further) return further;
  }
  return null;
}

/** The output that has a node's table, with all its pictures. */
function scoresOf(node) {
  if (node.comfyClass === "TastemakerRank") return { node, slot: node.findOutputSlot("all scores") };
  if (node.comfyClass === "TastemakerScore") return { node, slot: 0 };
  return inputs(node).find(({ input }) => input.name === "scores")?.from ?? null;
}

/** Where a node's table was made: the first of the nodes that hand it on, or the node itself. */
function tableOf(node, seen = new Set()) {
  const from = inputs(node).find(({ input }) => input.name === "scores")?.from.node;
  return from && !seen.has(from) ? tableOf(from, seen.add(from)) : node;
}

/** The node that answers for another one: behind the same table, or behind a table of its pictures. */
function answering(node) {
  const ready = (node.graph?._nodes ?? []).filter((one) => one.comfyClass === TYPE && inputs(one).length > 1);
  const same = (one) => tableOf(one) === tableOf(node);
  return ready.find(same) ?? ready.find((one) => upwards(tableOf(one), ({ from }) => from.node === node));
}

const overlap = (a, pos, size) =>
  a.pos[0] < pos[0] + size[0] + GAP / 2 &&
  pos[0] < a.pos[0] + a.size[0] + GAP / 2 &&
  a.pos[1] - GAP / 2 < pos[1] + size[1] + GAP / 2 &&
  pos[1] < a.pos[1] + a.size[1] + GAP;

function added(node) {
  const scores = scoresOf(node);
  const reward = upwards(node, ({ input, from }) => input.type === REWARD || from.node.outputs?.[from.slot]?.type === REWARD);
  if (!scores || !reward) return null;
  const made = globalThis.LiteGraph.createNode(TYPE);
  const place = [node.pos[0] + node.size[0] + GAP, node.pos[1]];
  const others = node.graph._nodes;
  for (let blocking; (blocking = others.find((one) => overlap(one, place, made.size))); ) {
    place[1] = blocking.pos[1] + blocking.size[1] + GAP;
  }
  made.pos = place;
  node.graph.add(made);
  scores.node.connectByType(scores.slot, made, "TASTE_SCORES");
  reward.node.connectByType(reward.slot, made, REWARD);
  return made;
}

/** Ask why some pictures of a node scored as they did. Returns what to say meanwhile. */
export function askWhy(node, ids) {
  if (!ids.length || !node.graph) return "";
  const there = answering(node);
  const made = there ?? added(node);
  if (!made) return say("Nothing here has scores of a reward: ask in Score or Rank.");
  setWidget(made.widgets?.find((one) => one.name === "pictures"), ids.join(","));
  const id = executionId(rootGraph(), made);
  app.queuePrompt(0, 1, id ? [id] : undefined); // older pages run the whole graph, of which nothing else has changed
  return there ? say("Asking why: this runs the graph") : say("Added the node Why This Score, and running it");
}
