"""The example workflow that learns a person's taste: click, rank by it, train on it."""

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

NOTE = """## Teach it your taste

1. Press **Run**. **Sample** makes 48 pictures, and **Learn Taste** shows six of them.
2. On **Learn Taste** press **Teach** (or Alt+T). Pick the best of six with 1 to 6, about 30 times; 0 is none,
   U takes one back. The line below says how well it knows you.
3. Press Enter. Now your taste is a reward: **Rank** sorts the pictures by it, and **Fine-Tune** teaches the model to
   please you, showing on its node what the model makes before and after.
4. **Vote** shows pairs of the model as it was and as it is, and hides which is which. Press *Vote on the pairs* on it
   (or Alt+V), then run once more: **Vote Result** says how often you liked the tuned one better.
5. Change **seed** on **Sample** and run: a fresh batch, ranked by your taste.

Decide before you click what you like: warm colours, say, or small shapes low in the picture.

Your taste is kept in *output/tastemaker/tastes*. **Load Reward** lists it in every other graph once you reload the
page. Another person writes another **name**.
"""

SAMPLING = {"images_per_prompt": 8, "seed": 20, "steps": 12, "guidance_scale": 3.0}
TRAINING = {"samples_per_epoch": 96, "steps": 8, "learning_rate": 1.2e-3, "rank": 16, "preset": "CPU", "epochs": 6}


def teach_my_taste(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": PROMPTS}, size=(320, 170))
    sample = Node("TastemakerSample", SAMPLING, {"model": (model, "model"), "prompts": (prompts, "prompts")})
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts")}
    score = Node("TastemakerScore", {}, {**wires, "reward": (reward, "reward")})
    learn = Node(
        "TastemakerLearnTaste",
        {"name": "my taste", "clicks_first": 20},
        {"scores": (score, "scores"), "reward": (reward, "reward")},
        size=(400, 700),
    )
    mine = Node("TastemakerScore", {}, {**wires, "reward": (learn, "taste")}, title="Score by your taste")
    rank = Node("TastemakerRank", {"top_k": 4}, {"scores": (mine, "scores")}, size=(400, 440))
    tune = Node(
        "TastemakerFineTune",
        {"run_name": "my taste", **TRAINING, "learning_rate": 6e-4, "algorithm": "reward_gradient"},
        {"model": (model, "model"), "reward": (learn, "taste"), "prompts": (prompts, "prompts")},
        size=(400, 640),
    )
    again = Node(
        "TastemakerSample",
        SAMPLING,
        {"model": (tune, "model"), "prompts": (prompts, "prompts")},
        title="Sample as it is",
        size=(300, 340),
    )
    now = Node(
        "TastemakerScore",
        {},
        {"images": (again, "images"), "prompts": (again, "prompts"), "reward": (learn, "taste")},
        title="Score as it is",
        size=(300, 160),
    )
    vote = Node(
        "TastemakerVote",
        {"study": "my taste", "pairs": 24},
        {"before": (mine, "scores"), "after": (now, "scores")},
        size=(300, 300),
    )
    result = Node("TastemakerVoteResult", {"study": "my taste"}, {"votes": (vote, "votes")}, size=(300, 220))
    note = Node("MarkdownNote", {"text": NOTE}, size=(320, 480))
    groups = lay_out(
        [[note, model, reward, prompts], [sample, score], [learn, mine], [rank, tune], [again, now, vote, result]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Make and teach", GREEN, [sample, score, learn, mine]),
            Frame("3  Rank and train", AMBER, [rank, tune]),
            Frame("4  Vote blind", BLUE, [again, now, vote, result]),
        ],
    )
    nodes = [note, model, reward, prompts, sample, score, learn, mine, rank, tune, again, now, vote, result]
    return build("teach_my_taste", nodes, groups, info)
