"""The example workflows about judging: a folder of one's own, and several rewards side by side."""

from __future__ import annotations

from typing import Any

from .builder import Group, Node, build

BLUE, GREEN, AMBER = "#3f789e", "#3f6f4f", "#8a6d3b"

FOLDER_NOTE = """## The best of a folder

1. **Load Images (folder)** reads a folder below ComfyUI's *output* or *input* folder, with the prompt
   inside each picture. Files that are broken are listed on the node, and the rest goes on.
2. **Score** compares every picture with its own prompt. Scores are remembered: cancel when you
   like, and run again at no cost.
3. **Rank** sorts them. Look through them, compare two, pick by hand.
4. **Save Ranked** copies the best to `output/tastemaker_ranked`, beside a list, a sheet and a page to
   share. Your files stay as they are.

As it comes, it reads `output/tastemaker`: run **best_of_batch** once, and there are pictures in it.

### Your own pictures

- Choose their folder in **folder**; switch **subfolders** on to read what is inside it too. For pictures from
  elsewhere, copy the folder into `ComfyUI/input` and reload the page.
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

Three **Rank** nodes show the same scores: sorted by the sum, by the first and by the second.
**rank_by** names the column. Each says how far the rewards agree.

Set **weight_2** to -0.5 and run again: now plain pictures lose.
"""


def rank_folder(info: dict[str, Any]) -> dict[str, Any]:
    images = Node(
        "TastemakerLoadImages",
        (420, 80),
        (360, 440),
        {"folder": "output/tastemaker", "without_prompt": "leave out", "order": "newest first"},
    )
    reward = Node("TastemakerLoadReward", (420, 620), (360, 130), {"reward": "tiny-imagereward"})
    wires = {"images": (images, "pictures"), "prompts": (images, "prompts"), "reward": (reward, "reward")}
    score = Node("TastemakerScore", (860, 80), (300, 250), {}, wires)
    rank = Node(
        "TastemakerRank", (1240, 80), (640, 830), {"top_k": 4, "group_by": "all"}, {"scores": (score, "scores")}
    )
    save = Node(
        "TastemakerSaveRanked",
        (1960, 80),
        (380, 460),
        {"filename_prefix": "tastemaker_ranked/best"},
        {"scores": (rank, "best scores")},
    )
    note = Node("MarkdownNote", (-40, 40), (390, 640), {"text": FOLDER_NOTE})
    groups = [
        Group("1  Choose", (400, 0, 400, 780), BLUE),
        Group("2  Judge", (840, 0, 340, 360), GREEN),
        Group("3  Look and keep", (1220, 0, 1140, 930), AMBER),
    ]
    return build("rank_folder", [note, images, reward, score, rank, save], groups, info)


def compare_rewards(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", (420, 80), (320, 110), {"model": "tiny-sdxl"})
    prompts = Node(
        "TastemakerPrompts", (420, 250), (320, 150), {"text": "a small yellow star at the top of a purple background"}
    )
    fits = Node("TastemakerLoadReward", (420, 500), (320, 130), {"reward": "tiny-imagereward"}, title="fits its prompt")
    plain = Node("TastemakerLoadReward", (420, 700), (320, 130), {"reward": "jpeg-compressibility"}, title="is plain")
    sample = Node(
        "TastemakerSample",
        (820, 80),
        (320, 560),
        {"images_per_prompt": 12, "seed": 7, "steps": 25, "guidance_scale": 2.0},
        {"model": (model, "model"), "prompts": (prompts, "prompts")},
    )
    combined = Node(
        "TastemakerCombineRewards",
        (820, 720),
        (320, 260),
        {"weight_1": 1.0, "weight_2": 0.5, "mode": "ranks"},
        {"reward_1": (fits, "reward"), "reward_2": (plain, "reward")},
    )
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts"), "reward": (combined, "reward")}
    score = Node("TastemakerScore", (1220, 80), (280, 250), {}, wires)
    ranks = [
        Node(
            "TastemakerRank",
            (1580 + 540 * place, 80),
            (500, 830),
            {"top_k": 4, "rank_by": column},
            {"scores": (score, "scores")},
            title=f"Rank: {title}",
        )
        for place, (column, title) in enumerate(
            [("", "both together"), ("tiny-imagereward", "fits its prompt"), ("jpeg-compressibility", "is plain")]
        )
    ]
    note = Node("MarkdownNote", (-20, 40), (370, 500), {"text": COMPARE_NOTE})
    groups = [
        Group("1  Choose", (400, 0, 360, 860), BLUE),
        Group("2  Make and judge", (800, 0, 720, 1010), GREEN),
        Group("3  Compare", (1560, 0, 1640, 930), AMBER),
    ]
    return build("compare_rewards", [note, model, prompts, fits, plain, sample, combined, score, *ranks], groups, info)
