"""The example workflow that measures: a model with few steps and with many, before and after, in one report."""

from __future__ import annotations

from typing import Any

from ..embedded.world import COLOURS, SHAPES
from .builder import build
from .layout import Frame, Node, lay_out
from .theme import AMBER, BLUE, GREEN

EVALUATE_NOTE = """## Which one is better, and is that sure?

Two settings of one model, measured alike and put side by side:

1. **Load** a model and a reward. **Prompts**: 32 of them, every shape in four colours.
2. **Sample** makes what both are compared with: the same prompts, other seeds, 12 steps.
3. **Evaluate**, twice: 3 steps, and 8. Each samples four pictures a prompt and finds the mean of the reward,
   **FID** and **KID** (how far from the reference; lower is nearer) and how different the pictures of a prompt are.
4. **Report** puts them into one table and chart, with 95% intervals, and saves an HTML file to share.

Put **Fine-Tune** or **Load Taste LoRA** before the second **Evaluate** to measure what it did; give both the same
steps and seed, then the report also says how often the second one wins.

For figures like those in papers: *inception-v3* as **features**, real pictures from **Load Images** as **reference**,
and a **protocol** such as *mjhq-30k*. The help of **Evaluate** (the ? above the node) says what its folder holds.
"""


def _prompts() -> str:
    """Each shape in four colours, on a background that is another colour."""
    lines, colours = [], tuple(COLOURS)
    for row, shape in enumerate(SHAPES):
        for column in range(4):
            colour, background = colours[(2 * column + row) % 8], colours[(2 * column + row + 1 + row % 7) % 8]
            lines.append(f"{background} background with a large {colour} {shape} in the middle")
    return "\n".join(lines)


def evaluate_before_after(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": _prompts()}, size=(290, 190))
    wires = {"model": (model, "model"), "prompts": (prompts, "prompts")}
    known = {"images_per_prompt": 4, "seed": 5000, "steps": 12, "guidance_scale": 3.0}
    real = Node("TastemakerSample", known, wires, title="what to compare with")
    measured = []
    for title, steps in (("3 steps", 3), ("8 steps", 8)):
        values = {"title": title, "steps": steps, "guidance_scale": 3.0, "images_per_prompt": 4, "kid_subset_size": 60}
        more = {**wires, "reward": (reward, "reward"), "reference": (real, "images")}
        measured.append(Node("TastemakerEvaluate", values, more, title=f"Evaluate {title}"))
    report = Node("TastemakerReport", {}, {"before": (measured[0], "evaluation"), "after": (measured[1], "evaluation")})
    note = Node("MarkdownNote", {"text": EVALUATE_NOTE}, size=(290, 510))
    groups = lay_out(
        [[note, model, reward, prompts], [real], [measured[0]], [measured[1]], [report]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Compare with", BLUE, [real]),
            Frame("3  Measure", GREEN, measured),
            Frame("4  Report", AMBER, [report]),
        ],
    )
    return build("evaluate_before_after", [note, model, reward, prompts, real, *measured, report], groups, info)
