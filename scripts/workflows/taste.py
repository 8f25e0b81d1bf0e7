"""The example workflows about a person's taste: click and rank by it; train on it and vote blind."""

from __future__ import annotations

from typing import Any

from .builder import App, build
from .layout import SIZES, Frame, Node, lay_out
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
3. Press Enter. Now your taste is a reward, and **Rank** sorts the pictures by it.
4. Change **seed** on **Sample** and run: a fresh batch, ranked by your taste.

Decide before you click what you like: warm colours, say, or small shapes low in the picture.

Your taste is kept in *output/tastemaker/tastes*. **Load Reward** lists it in every other graph once you reload the
page. Another person writes another **name**. The template **train_on_my_taste** teaches a model to please you.
"""

TRAIN_NOTE = """## Train a model on your taste

Begin with the template **teach_my_taste**: the taste of that **name** goes on here.

1. Press **Run**. If **Learn Taste** asks for clicks, press **Teach** on it, pick, press Enter, and run again.
2. **Fine-Tune** teaches the model to please you. On its node you see what the model makes before and after.
3. **Vote** shows pairs of the model as it was and as it is, and hides which is which. Press *Vote on the pairs*
   on it (or Alt+V), then run once more.
4. **Vote Result** says how often you liked the tuned one better.
"""

SAMPLING = {"images_per_prompt": 8, "seed": 20, "steps": 12, "guidance_scale": 3.0}
# as benchmarks/taste_training.py measured it
TRAINING = {"samples_per_epoch": 32, "steps": 8, "learning_rate": 6e-4, "rank": 16, "preset": "CPU", "epochs": 12}


def _taught() -> dict[str, Node]:
    """Return the nodes up to a taste and pictures that are scored by it."""
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": PROMPTS}, size=(290, 170))
    sample = Node("TastemakerSample", SAMPLING, {"model": (model, "model"), "prompts": (prompts, "prompts")})
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts")}
    score = Node("TastemakerScore", {}, {**wires, "reward": (reward, "reward")})
    learn = Node(
        "TastemakerLearnTaste",
        {"name": "my taste", "clicks_first": 20},
        {"scores": (score, "scores"), "reward": (reward, "reward")},
        size=(380, 700),
    )
    mine = Node("TastemakerScore", {}, {**wires, "reward": (learn, "taste")}, title="Score by your taste")
    return {
        "model": model,
        "reward": reward,
        "prompts": prompts,
        "sample": sample,
        "score": score,
        "learn": learn,
        "mine": mine,
    }


def teach_my_taste(info: dict[str, Any]) -> dict[str, Any]:
    made = _taught()
    model, reward, prompts, sample, score, learn, mine = made.values()
    rank = Node("TastemakerRank", {"top_k": 4}, {"scores": (mine, "scores")}, size=(500, 980))
    note = Node("MarkdownNote", {"text": NOTE}, size=(480, 360))
    groups = lay_out(
        [[note, model, reward, prompts], [sample, score], [learn, mine], [rank]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Make and teach", GREEN, [sample, score, learn, mine]),
            Frame("3  Rank by your taste", AMBER, [rank]),
        ],
    )
    shown = [
        (prompts, "text", "prompts, one a line"),
        (sample, "seed", "seed"),
        (rank, "top_k", "keep the best"),
    ]
    app = App(shown, [learn, rank], [(learn, "teaching"), (rank, "ranking")])
    return build("teach_my_taste", [note, *made.values(), rank], groups, info, app)


def train_on_my_taste(info: dict[str, Any]) -> dict[str, Any]:
    made = _taught()
    model, reward, prompts, sample, score, learn, mine = made.values()
    learn.size, sample.size = (330, 700), (260, 690)
    tune = Node(
        "TastemakerFineTune",
        {"run_name": "my taste", **TRAINING, "algorithm": "reward_gradient"},
        {"model": (model, "model"), "reward": (learn, "taste"), "prompts": (prompts, "prompts")},
        size=(330, 960),
    )
    again = Node(
        "TastemakerSample",
        SAMPLING,
        {"model": (tune, "model"), "prompts": (prompts, "prompts")},
        title="Sample as it is",
        size=(260, 690),
    )
    wires = {"images": (again, "images"), "prompts": (again, "prompts"), "reward": (learn, "taste")}
    now = Node("TastemakerScore", {}, wires, title="Score as it is")
    vote = Node(
        "TastemakerVote",
        {"study": "my taste", "pairs": 24},
        {"before": (mine, "scores"), "after": (now, "scores")},
        size=(280, 490),
    )
    result = Node("TastemakerVoteResult", {"study": "my taste"}, {"votes": (vote, "votes")}, size=(280, 620))
    for node in (model, reward, prompts):
        node.size = (250, (node.size or SIZES[node.type])[1])
    note = Node("MarkdownNote", {"text": TRAIN_NOTE}, size=(250, 420))
    groups = lay_out(
        [[note, model, reward, prompts], [sample, score], [learn, mine], [tune], [again, now], [vote, result]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Make and teach", GREEN, [sample, score, learn, mine]),
            Frame("3  Train", AMBER, [tune, again, now]),
            Frame("4  Vote blind", BLUE, [vote, result]),
        ],
        gap=36,
    )
    return build("train_on_my_taste", [note, *made.values(), tune, again, now, vote, result], groups, info)
