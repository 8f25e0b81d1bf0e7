"""The example workflow that asks people: two ways of sampling, judged blind."""

from __future__ import annotations

from typing import Any

from .builder import build
from .layout import Frame, Node, lay_out
from .theme import AMBER, BLUE, GREEN

PROMPTS = """a large red heart on a blue background
a small yellow star at the top of a purple background
a large green ring on a white background
a small pink moon on the left of a green background
a large orange square on a blue background
a small white cross at the bottom of a red background"""

NOTE = """## A blind vote

Do people see a difference between 6 steps and 25? Ask them, without telling which is which.

1. **Run**. Both **Sample** nodes make pictures of the same prompts from the same seeds.
2. On **Vote** press **Vote** (or Alt+V). Two pictures fill the screen: left arrow for the left one, right
   arrow for the right one, down for a tie, up or space to skip, backspace to take a vote back.
3. **Run** again when you are through, or whenever you like: that stores the votes. The result appears once
   you have voted on every pair.

Write your name into **voter**; the next voter writes theirs. Their votes join the same study, in
*output/tastemaker/votes*.

For your own study put another model, a LoRA or a fine-tuned model into one branch. Keep prompts, **seed** and
**images_per_prompt** alike in both.
"""


def _branch(steps: int, model: Node, prompts: Node, reward: Node) -> tuple[Node, Node]:
    """Sample and Score."""
    sample = Node(
        "TastemakerSample",
        {"images_per_prompt": 4, "seed": 100, "steps": steps, "guidance_scale": 3.0},
        {"model": (model, "model"), "prompts": (prompts, "prompts")},
        title=f"Sample, {steps} steps",
    )
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts"), "reward": (reward, "reward")}
    return sample, Node("TastemakerScore", {}, wires)


def blind_vote(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": PROMPTS}, size=(290, 170))
    few, few_scored = _branch(6, model, prompts, reward)
    many, many_scored = _branch(25, model, prompts, reward)
    vote = Node(
        "TastemakerVote",
        {"before_name": "6 steps", "after_name": "25 steps", "study": "few steps or many", "pairs": 24},
        {"before": (few_scored, "scores"), "after": (many_scored, "scores")},
    )
    result = Node("TastemakerVoteResult", {"study": "few steps or many"}, {"votes": (vote, "votes")})
    note = Node("MarkdownNote", {"text": NOTE}, size=(290, 530))
    groups = lay_out(
        [[note, model, reward, prompts], [few, few_scored], [many, many_scored], [vote], [result]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Make", GREEN, [few, few_scored, many, many_scored]),
            Frame("3  Ask", AMBER, [vote, result]),
        ],
    )
    nodes = [note, model, reward, prompts, few, few_scored, many, many_scored, vote, result]
    return build("blind_vote", nodes, groups, info)


def blind_pairs(output: dict[str, Any]) -> list[dict[str, str]]:
    """Return what Vote shows of two prompts, side by side: the workflow's picture."""
    of_each_prompt = {row["prompt"]: row for row in output["tastemaker_vote"]}
    return [row[side] for row in list(of_each_prompt.values())[:2] for side in ("left", "right")]
