// Voting on the Vote node: joins web/vote/ to the page. Plain DOM, so it works with both renderers.

import { app } from "../../scripts/app.js";
import { address, hiddenWidget, setWidget } from "./shared/widgets.js";
import { formatVotes, parseVotes } from "./vote/model.js";
import { VotePanel } from "./vote/panel.js";

const TYPE = "TastemakerVote";
const HEIGHT = 170;

function addVoting(node) {
  const votes = hiddenWidget(node, "votes");
  const container = document.createElement("div");
  container.className = "tastemaker-vote";
  const panel = new VotePanel(container, {
    votes: () => parseVotes(votes?.value),
    setVotes: (list) => setWidget(votes, formatVotes(list)),
    url: address,
    run: () => app.queuePrompt(0),
  });
  node.tastemakerVote = panel;
  const widget = node.addDOMWidget("voting", "tastemaker_voting", container, {
    serialize: false,
    getMinHeight: () => HEIGHT,
  });
  widget.serialize = false; // a display, not a setting: nothing of it goes into the workflow

  // a node made in the moment one of its id goes: the new renderer keeps showing the old one's panel
  const settle = () => {
    const shown = document.querySelector(`[data-node-id="${CSS.escape(String(node.id))}"] .tastemaker-vote`);
    if (shown && shown !== container && !container.isConnected) shown.replaceWith(container);
  };
  requestAnimationFrame(settle);

  const show = (message) => {
    settle();
    if (message?.tastemaker_vote) panel.show(message.tastemaker_vote, message.tastemaker_vote_summary?.[0]);
  };
  const executed = node.onExecuted;
  node.onExecuted = function (message) {
    executed?.apply(this, arguments);
    show(message);
  };
  const configured = node.onConfigure;
  node.onConfigure = function () {
    configured?.apply(this, arguments);
    panel.draw();
    // undo in the page makes the node anew: what it showed is still known
    requestAnimationFrame(() => !panel.rows.length && show(app.nodeOutputs?.[String(node.id)]));
  };
  const removed = node.onRemoved;
  node.onRemoved = function () {
    removed?.apply(this, arguments);
    panel.booth.close();
  };
}

/** The node to vote on: a selected one, else the first that has pairs. */
function chosen() {
  const nodes = (app.graph?._nodes ?? []).filter((node) => node.tastemakerVote);
  const selected = Object.values(app.canvas?.selected_nodes ?? {});
  return nodes.find((node) => selected.includes(node)) ?? nodes.find((node) => node.tastemakerVote.rows.length);
}

app.registerExtension({
  name: "tastemaker.vote",
  commands: [
    { id: "Tastemaker.Vote", label: "Vote on pairs (Tastemaker)", function: () => chosen()?.tastemakerVote.open() },
  ],
  keybindings: [{ commandId: "Tastemaker.Vote", combo: { key: "v", alt: true } }],
  nodeCreated(node) {
    if (node.comfyClass === TYPE) addVoting(node);
  },
});
