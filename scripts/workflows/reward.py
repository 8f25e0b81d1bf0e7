"""The example workflows about judging: a folder of one's own, and several rewards side by side."""

from __future__ import annotations

from typing import Any

from .builder import App, build
from .layout import Frame, Node, lay_out
from .theme import AMBER, BLUE, GREEN

FOLDER_NOTE = """## The best of a folder

1. **Load Images (folder)** reads a folder below ComfyUI's *output* or *input* folder, with the prompt
   inside each picture. Files that are broken are listed on the node, and the rest goes on.
2. **Score** compares every picture with its own prompt. Scores are remembered: cancel when you
   like, and run again at no cost.
3. **Rank** sorts them. Look through them, compare two, pick by hand.
4. **Save Ranked** copies the best to *output/tastemaker_ranked*, beside a list, a sheet and a page to
   share. Your files stay as they are.

As it comes, it reads *output/tastemaker*: run **best_of_batch** once, and there are pictures in it.

### Your own pictures

- Choose their folder in **folder of pictures**; switch **folders inside it too** on for those below. For pictures from
  elsewhere, copy the folder into *ComfyUI/input* and reload the page.
- *tiny-imagereward* knows the coloured shapes of the small models only. For photographs and paintings choose
  *imagereward-v1.0* in **Load Reward**; its help page says where the file belongs.
- No prompt inside? Put a text file of the same name beside a picture, or fill in **default_prompt**.
"""

COMPARE_NOTE = """## Do two rewards agree?

The same pictures, judged by two rewards:

- *tiny-imagereward*: how well a picture fits its prompt;
- *jpeg-compressibility*: how few kilobytes it takes as a JPEG. Plain pictures win.

**Combine Rewards** makes one of them. With *ranks* each picture gets its place by either reward, times
the weight: 1 and 0.5 here. **Score** keeps a column for the sum and one for each part.

Two **Rank** nodes show the same scores: sorted by the sum, and by the second alone.
**rank_by** names the column. Each says how far the rewards agree, and the box above the pictures sorts by any.

Set **weight_2** to -0.5 and run again: now plain pictures lose.
"""


def rank_folder(info: dict[str, Any]) -> dict[str, Any]:
    images = Node(
        "TastemakerLoadImages",
        {"folder": "output/tastemaker", "without_prompt": "leave out", "order": "newest first"},
    )
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"}, size=(320, 170))
    wires = {"images": (images, "pictures"), "prompts": (images, "prompts"), "reward": (reward, "reward")}
    score = Node("TastemakerScore", {}, wires)
    rank = Node("TastemakerRank", {"top_k": 4, "group_by": "all"}, {"scores": (score, "scores")}, size=(530, 980))
    save = Node(
        "TastemakerSaveRanked", {"filename_prefix": "tastemaker_ranked/best"}, {"scores": (rank, "best scores")}
    )
    note = Node("MarkdownNote", {"text": FOLDER_NOTE}, size=(550, 440))
    groups = lay_out(
        [[note, images], [reward, score], [rank], [save]],
        [
            Frame("1  Choose", BLUE, [images]),
            Frame("2  Judge", GREEN, [reward, score]),
            Frame("3  Look and keep", AMBER, [rank, save]),
        ],
    )
    shown = [
        (images, "folder", "folder of pictures"),
        (images, "subfolders", "folders inside it too"),
        (reward, "reward", "judged by"),
        (rank, "top_k", "keep the best"),
        (save, "filename_prefix", "save as"),
    ]
    app = App(shown, [rank, save], [(rank, "ranking")])
    return build("rank_folder", [note, images, reward, score, rank, save], groups, info, app)


def compare_rewards(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    text = "a small yellow star at the top of a purple background"
    prompts = Node("TastemakerPrompts", {"text": text}, size=(290, 130))
    fits = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"}, title="fits its prompt")
    plain = Node("TastemakerLoadReward", {"reward": "jpeg-compressibility"}, title="is plain")
    sample = Node(
        "TastemakerSample",
        {"images_per_prompt": 12, "seed": 7, "steps": 25, "guidance_scale": 2.0},
        {"model": (model, "model"), "prompts": (prompts, "prompts")},
    )
    combined = Node(
        "TastemakerCombineRewards",
        {"weight_1": 1.0, "weight_2": 0.5, "mode": "ranks"},
        {"reward_1": (fits, "reward"), "reward_2": (plain, "reward")},
    )
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts"), "reward": (combined, "reward")}
    score = Node("TastemakerScore", {}, wires)
    ranks = [
        Node(
            "TastemakerRank",
            {"top_k": 4, "rank_by": column},
            {"scores": (score, "scores")},
            title=f"Rank: {title}",
            size=(415, 980),
        )
        for column, title in (("", "both together"), ("jpeg-compressibility", "is plain"))
    ]
    note = Node("MarkdownNote", {"text": COMPARE_NOTE}, size=(290, 340))
    groups = lay_out(
        [[note, model, prompts, fits, plain], [sample, combined], [score], [ranks[0]], [ranks[1]]],
        [
            Frame("1  Choose", BLUE, [model, prompts, fits, plain]),
            Frame("2  Make and judge", GREEN, [sample, combined, score]),
            Frame("3  Compare", AMBER, ranks),
        ],
    )
    return build("compare_rewards", [note, model, prompts, fits, plain, sample, combined, score, *ranks], groups, info)
