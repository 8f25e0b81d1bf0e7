"""The example workflow that learns a person's taste: click, rank a fresh batch, train on it, vote blind."""

from __future__ import annotations

from typing import Any

from .builder import build
from .layout import Frame, Node, lay_out
from .theme import AMBER, BLUE, GREEN

PROMPTS = """a red heart on a blue background
a yellow star on a purple background
a green ring on a white background
a pink moon on a green background
an orange square on a yellow background
a white cross on a red background"""

FRESH = """a blue circle on a pink background
a purple triangle on an orange background"""

NOTE = """## Teach it your taste

1. Press **Run**. **Sample** makes 48 pictures, and **Learn Taste** shows six of them.
2. On **Learn Taste** press **Teach** (or Alt+T). Pick the best of six with 1 to 6, about 30 times; 0 is none,
   U takes one back. The line below says how well it knows you.
3. Press Enter. Now your taste is a reward: **Rank** sorts a fresh batch by it, and **Fine-Tune** teaches the model to
   please you.
4. When it has finished, **Vote** shows pictures from before and after, not saying which is which. Did it learn?

Decide before you click what you like: warm colours, say, or small shapes low in the picture.

Your taste is kept in `output/tastemaker/tastes`. **Load Reward** lists it in every other graph once you reload the
page. Another person writes another **name**.
"""

SAMPLING = {"images_per_prompt": 8, "seed": 20, "steps": 12, "guidance_scale": 3.0}
TRAINING = {"samples_per_epoch": 96, "steps": 8, "learning_rate": 1.2e-3, "rank": 16, "preset": "CPU", "epochs": 6}


def _scored(model: Node, output: str, prompts: Node, reward: Node, slot: str, title: str) -> list[Node]:
    """Sample and Score."""
    sample = Node(
        "TastemakerSample",
        {**SAMPLING, "seed": 900},
        {"model": (model, output), "prompts": (prompts, "prompts")},
        title=f"Sample {title}",
    )
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts"), "reward": (reward, slot)}
    return [sample, Node("TastemakerScore", {}, wires, title=f"Score {title}")]


def teach_my_taste(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": PROMPTS}, size=(320, 170))
    sample = Node("TastemakerSample", SAMPLING, {"model": (model, "model"), "prompts": (prompts, "prompts")})
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts"), "reward": (reward, "reward")}
    score = Node("TastemakerScore", {}, wires)
    learn = Node(
        "TastemakerLearnTaste",
        {"name": "my taste", "clicks_first": 20},
        {"scores": (score, "scores"), "reward": (reward, "reward")},
        size=(440, 640),
    )
    fresh = Node("TastemakerPrompts", {"text": FRESH}, title="what it has not seen", size=(320, 110))
    was = _scored(model, "model", fresh, learn, "taste", "as it was")
    rank = Node("TastemakerRank", {"top_k": 4}, {"scores": (was[1], "scores")})
    tune = Node(
        "TastemakerFineTune",
        {"run_name": "my taste", **TRAINING},
        {"model": (model, "model"), "reward": (learn, "taste"), "prompts": (prompts, "prompts")},
    )
    tuned = _scored(tune, "model", fresh, learn, "taste", "as it is")
    vote = Node(
        "TastemakerVote",
        {"study": "my taste", "pairs": 16},
        {"before": (was[1], "scores"), "after": (tuned[1], "scores")},
    )
    note = Node("MarkdownNote", {"text": NOTE}, size=(340, 520))
    groups = lay_out(
        [[note, model, reward, prompts], [sample, score, fresh], [learn], [*was, tune], [rank, *tuned], [vote]],
        [
            Frame("1  Make", BLUE, [model, reward, prompts, sample, score, fresh]),
            Frame("2  Teach", GREEN, [learn]),
            Frame("3  Rank, train, vote", AMBER, [*was, tune, rank, *tuned, vote]),
        ],
    )
    nodes = [note, model, reward, prompts, sample, score, learn, fresh, *was, rank, tune, *tuned, vote]
    return build("teach_my_taste", nodes, groups, info)
