"""Write `workflows/*.json` and `subgraphs/*.json` from the graphs below: `make workflows`.

`python -m scripts.workflows NAME ...` writes some of them only; those that train take minutes. `--graphs` writes the
`.json` files and leaves the pictures as they are.

The nodes' widgets and outputs come from a running server, so a file can never name an input that
the code does not have. The `.jpg` beside each shows what the workflow itself makes, with small models
(`stand_ins.py`) in place of those that have to be downloaded.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from ..comfy.client import ComfyClient
from ..comfy.locate import ROOT
from ..comfy.server import ComfyServer
from .blueprints import BLUEPRINTS, built
from .builder import App, build
from .cards import card
from .evaluation import evaluate_before_after
from .grid import grid
from .layout import Frame, Node, lay_out
from .model import lora, playground_v2, refiner
from .own_graph import rank_my_own_graph
from .reward import compare_rewards, rank_folder
from .search import search
from .stand_ins import with_stand_ins, write_nodes, write_stand_ins
from .taste import teach_my_taste, train_on_my_taste
from .theme import AMBER, BLUE, GREEN
from .training import fine_tune, fine_tune_unconditional, preference_tune
from .vote import blind_pairs, blind_vote

BEST_NOTE = """## Best of a batch

1. **Load Taste Model** and **Load Reward**: both are the small ones that come with the pack.
2. **Prompts**: one a line.
3. **Sample** makes 16 pictures of each prompt, each from its own seed.
4. **Score** asks the reward how well each picture fits its prompt.
5. **Rank** sorts them, shows the sheet and keeps the best 4.
6. **Save Ranked** writes those to *output/tastemaker*, scores inside the PNGs.

The small model gets colours and shapes right and places the shape where it likes; the reward
reads places too, so watch **Rank** find the stars that really are at the top.

Press **Run**. Then try another prompt: colours red, orange, yellow, green, blue, purple, pink,
white; shapes circle, square, triangle, star, heart, ring, cross, moon; small or large; in the
middle, on the left, on the right, at the top, at the bottom.
"""

UNCONDITIONAL_NOTE = """## A model that reads no text

*tiny-ddpm* is an unconditional DDPM, like google/ddpm-church-256: nothing goes into **prompts**.

The reward still needs a text to compare with: **what I am looking for** holds it. Of 16 random
pictures the ones that come closest are kept.

Try *ddpm* with 200 steps, or *pndm* with 25.
"""


def best_of_batch(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": "a small yellow star at the top of a purple background"})
    sample = Node(
        "TastemakerSample",
        {"images_per_prompt": 16, "seed": 7, "steps": 25, "guidance_scale": 2.0},
        {"model": (model, "model"), "prompts": (prompts, "prompts")},
    )
    wires = {"images": (sample, "images"), "prompts": (sample, "prompts"), "reward": (reward, "reward")}
    score = Node("TastemakerScore", {}, wires)
    rank, save = _kept(score, "tastemaker/best")
    note = Node("MarkdownNote", {"text": BEST_NOTE}, size=(500, 400))
    groups = lay_out(
        [[note, model, reward, prompts], [sample, score], [rank], [save]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Make and judge", GREEN, [sample, score]),
            Frame("3  Look and keep", AMBER, [rank, save]),
        ],
    )
    nodes = [note, model, reward, prompts, sample, score, rank, save]
    shown = [
        (prompts, "text", "prompts, one a line"),
        (sample, "images_per_prompt", "pictures of each prompt"),
        (sample, "seed", "seed"),
        (rank, "top_k", "keep the best"),
    ]
    return build("best_of_batch", nodes, groups, info, App(shown, [rank, save], [(rank, "ranking")]))


def _kept(score: Node, prefix: str) -> tuple[Node, Node]:
    """Rank and Save Ranked: the best four."""
    rank = Node("TastemakerRank", {"top_k": 4}, {"scores": (score, "scores")})
    return rank, Node("TastemakerSaveRanked", {"filename_prefix": prefix}, {"scores": (rank, "best scores")})


def unconditional(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-ddpm"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    text = "a large red circle on a white background"
    wanted = Node("TastemakerPrompts", {"text": text}, title="what I am looking for", size=(290, 130))
    sample = Node(
        "TastemakerSample",
        {"images_per_prompt": 16, "seed": 1, "scheduler": "ddim", "steps": 50, "eta": 1.0},
        {"model": (model, "model")},
    )
    wires = {"images": (sample, "images"), "prompts": (wanted, "prompts"), "reward": (reward, "reward")}
    score = Node("TastemakerScore", {}, wires | {"made_with": (sample, "prompts")})
    rank, save = _kept(score, "tastemaker/unconditional")
    note = Node("MarkdownNote", {"text": UNCONDITIONAL_NOTE}, size=(340, 400))
    groups = lay_out(
        [[note, model, wanted, reward], [sample, score], [rank], [save]],
        [
            Frame("1  Choose", BLUE, [model, wanted, reward]),
            Frame("2  Make and judge", GREEN, [sample, score]),
            Frame("3  Look and keep", AMBER, [rank, save]),
        ],
    )
    nodes = [note, model, reward, wanted, sample, score, rank, save]
    return build("unconditional", nodes, groups, info)


WORKFLOWS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "best_of_batch": best_of_batch,
    "unconditional": unconditional,
    "grid": grid,
    "rank_folder": rank_folder,  # of what best_of_batch saved
    "compare_rewards": compare_rewards,
    "rank_my_own_graph": rank_my_own_graph,
    "playground_v2": playground_v2,
    "refiner": refiner,
    "lora": lora,
    "search": search,
    "fine_tune": fine_tune,
    "preference_tune": preference_tune,
    "fine_tune_unconditional": fine_tune_unconditional,
    "teach_my_taste": teach_my_taste,
    "train_on_my_taste": train_on_my_taste,
    "blind_vote": blind_vote,
    "evaluate_before_after": evaluate_before_after,
}
LONGEST = 3600  # seconds for one of them
_GAP = 8  # pixels between the pictures of a sheet


def _thumbnail(pictures: list[bytes], path: Path) -> None:
    """One picture as it is, several as a sheet, on the template's card."""
    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    card(path.stem, images[0] if len(images) == 1 else _sheet(images)).save(path, "JPEG", quality=88)


def _sheet(images: list[Image.Image]) -> Image.Image:
    """Four pictures in two columns; of pairs that are stitched already, one of each prompt, below each other."""
    stitched = images[0].width > images[0].height
    images, columns = (images[::2], 1) if stitched else (images, 2)
    images = [i.resize((i.width * 352 // i.height, 352), Image.Resampling.BICUBIC) for i in images]
    width, height = (n + _GAP for n in images[0].size)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width - _GAP, rows * height - _GAP), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * width, i // columns * height))
    return sheet


def main() -> None:
    names = [name for name in sys.argv[1:] if name != "--graphs"]
    with tempfile.TemporaryDirectory() as base:
        write_nodes(Path(base) / "custom_nodes")
        with ComfyServer(Path(base)) as server:
            write_stand_ins(Path(base) / "models")
            _write(names or list(WORKFLOWS), server)


def _write(names: list[str], server: ComfyServer) -> None:
    """Write the files of some workflows, and their pictures."""
    client = ComfyClient(server.address)
    info = client.get("/object_info")
    for name in BLUEPRINTS:
        path = ROOT / "subgraphs" / f"{name}.json"
        path.write_text(json.dumps(built(name, info), indent=2) + "\n", encoding="utf-8")
    for name in names:
        workflow = WORKFLOWS[name](info)
        path = ROOT / "workflows" / f"{name}.json"
        path.write_text(json.dumps(workflow, indent=2) + "\n", encoding="utf-8")
        if "--graphs" in sys.argv:
            continue
        result = client.run_workflow(with_stand_ins(workflow), seconds=LONGEST)
        if result.status != "success":
            raise SystemExit(f"{name} failed: {result.error.get('exception_message')}")
        ranked = [o for o in result.outputs.values() if {"tastemaker_ranking", "tastemaker_grid"} & set(o)]
        compared = [o for o in result.outputs.values() if "images" in o and "text" in o]
        voted = [{"images": blind_pairs(o)} for o in result.outputs.values() if "tastemaker_vote" in o]
        shown = ranked or compared or voted or [o for o in result.outputs.values() if "images" in o]
        entries = shown[0].get("tastemaker_sheet") or shown[0]["images"]
        _thumbnail([client.file(entry) for entry in entries], path.with_suffix(".jpg"))
        print(f"wrote {path.relative_to(ROOT)} and its .jpg")


if __name__ == "__main__":
    main()
