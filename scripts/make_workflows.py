"""Write `workflows/*.json` from the graphs below: `make workflows`.

The nodes' widgets and outputs come from a running server, so a file can never name an input that
the code does not have. The `.jpg` beside each is the sheet the workflow itself makes.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from .comfy.client import ComfyClient
from .comfy.locate import ROOT
from .comfy.server import ComfyServer
from .workflow_builder import Group, Node, build

BLUE, GREEN, AMBER = "#3f789e", "#3f6f4f", "#8a6d3b"

BEST_NOTE = """## Best of a batch

1. **Load Taste Model** and **Load Reward**: both are the small ones that come with the pack.
2. **Prompts**: one a line.
3. **Sample** makes 16 pictures of each prompt, each from its own seed.
4. **Score** asks the reward how well each picture fits its prompt.
5. **Rank** sorts them, shows the sheet and keeps the best 4.
6. **Save Ranked** writes those to `output/tastemaker`, scores inside the PNGs.

The small model gets colours and shapes right and places the shape where it likes; the reward
reads places too, so watch **Rank** find the stars that really are at the top.

Press **Run**. Then try another prompt: colours red, orange, yellow, green, blue, purple, pink,
white; shapes circle, square, triangle, star, heart, ring, cross, moon; small or large; in the
middle, on the left, on the right, at the top, at the bottom.
"""

UNCONDITIONAL_NOTE = """## A model that reads no text

`tiny-ddpm` is an unconditional DDPM, like google/ddpm-church-256: nothing goes into **prompts**.

The reward still needs a text to compare with: **what I am looking for** holds it. Of 16 random
pictures the ones that come closest are kept.

Try *ddpm* with 200 steps, or *pndm* with 25.
"""


def best_of_batch(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", (340, 80), (300, 90), {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", (340, 250), (300, 90), {"reward": "tiny-imagereward"})
    text = "a small yellow star at the top of a purple background"
    prompts = Node("TastemakerPrompts", (340, 420), (300, 170), {"text": text})
    sample = Node(
        "TastemakerSample",
        (720, 80),
        (320, 560),
        {"images_per_prompt": 16, "seed": 7, "steps": 25, "guidance_scale": 2.0},
        {"model": (model, "model"), "prompts": (prompts, "prompts")},
    )
    score = Node(
        "TastemakerScore",
        (1120, 80),
        (220, 90),
        {},
        {"images": (sample, "images"), "prompts": (sample, "prompts"), "reward": (reward, "reward")},
    )
    rank = Node("TastemakerRank", (1120, 240), (620, 640), {"top_k": 4}, {"scores": (score, "scores")})
    save = Node(
        "TastemakerSaveRanked",
        (1820, 80),
        (360, 420),
        {"filename_prefix": "tastemaker/best"},
        {"scores": (rank, "best scores")},
    )
    note = Node("MarkdownNote", (-60, 40), (330, 440), {"text": BEST_NOTE})
    groups = [
        Group("1  Choose", (320, 0, 340, 620), BLUE),
        Group("2  Make", (700, 0, 360, 670), GREEN),
        Group("3  Judge and keep", (1100, 0, 1100, 910), AMBER),
    ]
    nodes = [note, model, reward, prompts, sample, score, rank, save]
    return build("best_of_batch", nodes, groups, info)


def unconditional(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", (340, 80), (300, 90), {"model": "tiny-ddpm"})
    reward = Node("TastemakerLoadReward", (340, 250), (300, 90), {"reward": "tiny-imagereward"})
    wanted = Node(
        "TastemakerPrompts",
        (340, 420),
        (300, 150),
        {"text": "a large red circle on a white background"},
        title="what I am looking for",
    )
    sample = Node(
        "TastemakerSample",
        (720, 80),
        (320, 560),
        {"images_per_prompt": 16, "seed": 1, "scheduler": "ddim", "steps": 50, "eta": 1.0},
        {"model": (model, "model")},
    )
    score = Node(
        "TastemakerScore",
        (1120, 80),
        (220, 90),
        {},
        {
            "images": (sample, "images"),
            "prompts": (wanted, "prompts"),
            "reward": (reward, "reward"),
            "made_with": (sample, "prompts"),
        },
    )
    rank = Node("TastemakerRank", (1120, 240), (620, 640), {"top_k": 4}, {"scores": (score, "scores")})
    save = Node(
        "TastemakerSaveRanked",
        (1820, 80),
        (360, 420),
        {"filename_prefix": "tastemaker/unconditional"},
        {"scores": (rank, "best scores")},
    )
    note = Node("MarkdownNote", (-60, 40), (330, 420), {"text": UNCONDITIONAL_NOTE})
    groups = [
        Group("1  Choose", (320, 0, 340, 600), BLUE),
        Group("2  Make", (700, 0, 360, 670), GREEN),
        Group("3  Judge and keep", (1100, 0, 1100, 910), AMBER),
    ]
    nodes = [note, model, reward, wanted, sample, score, rank, save]
    return build("unconditional", nodes, groups, info)


WORKFLOWS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "best_of_batch": best_of_batch,
    "unconditional": unconditional,
}


def _thumbnail(picture: bytes, path: Path) -> None:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((720, 720), Image.Resampling.LANCZOS)
    image.save(path, "JPEG", quality=88)


def main() -> None:
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server:
        client = ComfyClient(server.address)
        info = client.get("/object_info")
        for name, make in WORKFLOWS.items():
            workflow = make(info)
            path = ROOT / "workflows" / f"{name}.json"
            path.write_text(json.dumps(workflow, indent=2) + "\n", encoding="utf-8")
            result = client.run_workflow(workflow)
            if result.status != "success":
                raise SystemExit(f"{name} failed: {result.error.get('exception_message')}")
            shown = next(o for o in result.outputs.values() if "tastemaker_ranking" in o)
            _thumbnail(client.file(shown["images"][0]), path.with_suffix(".jpg"))
            print(f"wrote {path.relative_to(ROOT)} and its .jpg")


if __name__ == "__main__":
    main()
