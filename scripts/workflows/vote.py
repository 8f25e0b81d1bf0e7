"""The example workflow that asks people: two ways of sampling, judged blind."""

from __future__ import annotations

from typing import Any

from .builder import Group, Node, build
from .model import AMBER, BLUE, GREEN

PROMPTS = """a large red heart on a blue background
a small yellow star at the top of a purple background
a large green ring on a white background
a small pink moon on the left of a green background
a large orange square on a blue background
a small white cross at the bottom of a red background"""

NOTE = """## A blind vote

Do people see a difference between 6 steps and 25? Ask them, without telling which is which.

1. **Run**. Both **Sample** nodes paint the same prompts from the same seeds.
2. On **Vote** press **Vote** (or Alt+V). Two pictures fill the screen: left arrow for the left one, right
   arrow for the right one, down for a tie, up or space to skip, backspace to take a vote back.
3. **Run** again when you are through, or whenever you like: that stores the votes. The result appears once
   you have voted on every pair.

Write your name into **voter**; the next voter writes theirs. Their votes join the same study, in
`output/tastemaker/votes`.

For your own study put another model, a LoRA or a fine-tuned model into one branch. Keep prompts, **seed** and
**images_per_prompt** alike in both.
"""


def _branch(row: int, steps: int, model: Node, prompts: Node, reward: Node) -> tuple[Node, Node]:
    """Sample and Score."""
    sample = Node(
        "TastemakerSample",
        (720, 80 + 720 * row),
        (320, 660),
        {"images_per_prompt": 4, "seed": 100, "steps": steps, "guidance_scale": 3.0},
        {"model": (model, "model"), "prompts": (prompts, "prompts")},
        title=f"Sample, {steps} steps",
    )
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts"), "reward": (reward, "reward")}
    return sample, Node("TastemakerScore", (1080, 80 + 720 * row), (230, 130), {}, wires)


def blind_vote(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", (340, 80), (300, 90), {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", (340, 250), (300, 90), {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", (340, 420), (300, 220), {"text": PROMPTS})
    few, few_scored = _branch(0, 6, model, prompts, reward)
    many, many_scored = _branch(1, 25, model, prompts, reward)
    vote = Node(
        "TastemakerVote",
        (1400, 80),
        (420, 520),
        {"before_name": "6 steps", "after_name": "25 steps", "study": "few steps or many", "pairs": 24},
        {"before": (few_scored, "scores"), "after": (many_scored, "scores")},
    )
    result = Node(
        "TastemakerVoteResult", (1880, 80), (560, 620), {"study": "few steps or many"}, {"votes": (vote, "votes")}
    )
    note = Node("MarkdownNote", (-100, 40), (380, 520), {"text": NOTE})
    groups = [
        Group("1  Choose", (320, 0, 340, 670), BLUE),
        Group("2  Make", (700, 0, 650, 1480), GREEN),
        Group("3  Ask", (1380, 0, 1080, 740), AMBER),
    ]
    nodes = [note, model, reward, prompts, few, few_scored, many, many_scored, vote, result]
    return build("blind_vote", nodes, groups, info)


def blind_pairs(output: dict[str, Any]) -> list[dict[str, str]]:
    """What Vote shows of two prompts, side by side: the workflow's picture."""
    of_each_prompt = {row["prompt"]: row for row in output["tastemaker_vote"]}
    return [row[side] for row in list(of_each_prompt.values())[:2] for side in ("left", "right")]
