// Voting on the Vote node: joins web/vote/ to the page.

import { app } from "../../scripts/app.js";
import { element } from "./shared/dom.js";
import { addPanel, rootGraph } from "./shared/panel.js";
import { address, hiddenWidget, setWidget } from "./shared/widgets.js";
import { formatVotes, parseVotes } from "./vote/model.js";
import { VotePanel } from "./vote/panel.js";
import { say } from "./shared/words.js";

const TYPE = "TastemakerVote";
const HEIGHT = 170;

function addVoting(node) {
  const votes = hiddenWidget(node, "votes");
  const container = element("div", "tastemaker-vote");
  const panel = new VotePanel(container, {
    votes: () => parseVotes(votes?.value),
    setVotes: (list) => setWidget(votes, formatVotes(list)),
    url: address,
    run: () => app.queuePrompt(0),
  });
  node.tastemakerVote = panel;
  addPanel(node, {
    name: "voting",
    label: say("Vote"),
    element: container,
    output: "tastemaker_vote",
    height: HEIGHT,
    show: (message) => panel.show(message.tastemaker_vote, message.tastemaker_vote_summary?.[0]),
    configured: () => panel.draw(),
    removed: () => panel.booth.close(),
  });
}

/** The node to vote on: a selected one, else the first that has pairs. */
function chosen() {
  const graph = app.canvas?.graph ?? rootGraph();
  const nodes = (graph?._nodes ?? []).filter((node) => node.tastemakerVote);
  const selected = [...(app.canvas?.selectedItems ?? [])];
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
