// A panel on a node: plain DOM that both renderers of the page show, and that undo, a tab or a reload do not empty.
//
// The page makes every node anew on undo, redo, another tab and a reload. What a node showed is then asked of the page
// (`nodeOutputs`, which older pages lose with another tab), of what was shown before, and after a reload of the host's
// history. Its new renderer keeps the removed node's element mounted
// and never mounts the new one's: then the new element takes the old one's place.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { executionId, lastOutput, outputKey } from "./outputs.js";

const TRIES = [0, 200, 800, 2500]; // milliseconds after a node is made: the page mounts and remembers at its own pace
const RUNS = 12; // how many of the host's last runs are looked through
const KEPT = 40; // panels whose last message is remembered
const FRESH = 3000; // milliseconds that an answer about them serves every node

/** The outermost graph; newer pages have a name of its own for it. */
export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

const remembered = new Map(); // what panels showed last, the oldest first

/** A node's name in all of the page's workflows, or null while it is on no graph. */
function nameOf(node) {
  const root = rootGraph();
  const id = executionId(root, node);
  return id && root.id ? `${root.id} ${id} ${node.comfyClass}` : null;
}

function remember(node, message) {
  const name = nameOf(node);
  if (!name) return;
  remembered.delete(name);
  remembered.set(name, message);
  if (remembered.size > KEPT) remembered.delete(remembered.keys().next().value);
}

let asked = { at: -Infinity, answer: Promise.resolve({}) };

/** The host's last runs, asked for once for all the nodes of a graph. */
function lastRuns() {
  if (performance.now() - asked.at > FRESH) {
    const answer = api
      .fetchApi(`/history?max_items=${RUNS}`)
      .then((found) => (found.ok ? found.json() : {}))
      .catch(() => ({}));
    asked = { at: performance.now(), answer };
  }
  return asked.answer;
}

/** Whether a node is still on its graph; the page leaves `graph` set on nodes that it has cleared away. */
function isThere(node) {
  return node.graph?.getNodeById?.(node.id) === node;
}

/** Where the page shows another node's element in this one's place, put this one's. */
function mount(node, element) {
  if (element.isConnected || !isThere(node) || (app.canvas?.graph && app.canvas.graph !== node.graph)) return;
  const shown = document.querySelector(`[data-node-id="${CSS.escape(String(node.id))}"] .tastemaker-panel`);
  shown?.replaceWith(element);
}

/**
 * Put a panel on a node.
 * @param {any} node
 * @param {object} panel
 * @param {string} panel.name its widget's name
 * @param {string} panel.label what an app calls it
 * @param {HTMLElement} panel.element
 * @param {string} panel.output the node's output that it shows
 * @param {(message: any) => void} panel.show
 * @param {number} panel.height at least, in pixels
 * @param {number} [panel.most] at most
 * @param {() => void} [panel.configured] called once the node's saved values are there
 * @param {() => void} [panel.removed]
 * @param {() => any} [panel.held] what is known that is newer than the last output, or nothing
 */
export function addPanel(node, { name, label, element, output, show, height, most, configured, removed, held }) {
  element.classList.add("tastemaker-panel", "widget-expands"); // the second is the page's: take the room there is
  element.style.setProperty("--tm-least", `${height}px`); // for the renderer that asks no widget for its height
  const options = { serialize: false, hideInPanel: true, getMinHeight: () => height };
  if (most) options.getMaxHeight = () => most;
  const widget = node.addDOMWidget(name, `tastemaker_${name}`, element, options);
  widget.label = label;
  widget.serialize = false; // a display, not a setting: nothing of it goes into the workflow

  let filled = false;
  const fill = (message) => {
    if (!message?.[output]) return;
    filled = true;
    remember(node, message);
    show(message);
  };
  const restore = () => {
    if (filled || !isThere(node)) return;
    const sources = [held?.(), app.nodeOutputs?.[outputKey(rootGraph(), node)], remembered.get(nameOf(node))];
    fill(sources.find((message) => message?.[output]));
  };
  const fromHistory = async () => {
    const root = rootGraph();
    const id = filled || !isThere(node) ? null : executionId(root, node);
    if (!id || !root?.id) return;
    const found = lastOutput(await lastRuns(), { workflow: root.id, id, type: node.comfyClass });
    if (!filled && isThere(node)) fill(found);
  };
  const settle = () => TRIES.forEach((wait) => setTimeout(() => mount(node, element), wait));

  const after = (event, action) => {
    const before = node[event];
    node[event] = function (...given) {
      before?.apply(this, given);
      action(...given);
    };
  };
  after("onExecuted", (message) => {
    mount(node, element);
    fill(message);
  });
  after("onConfigure", () => {
    configured?.();
    for (const wait of TRIES) setTimeout(restore, wait);
    setTimeout(fromHistory, TRIES[2]);
  });
  after("onRemoved", () => removed?.());
  settle();
  return widget;
}
