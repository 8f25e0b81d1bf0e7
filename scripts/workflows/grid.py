"""The example workflow that compares settings in a grid."""

from __future__ import annotations

from typing import Any

from .builder import build
from .layout import Frame, Node, lay_out
from .theme import AMBER, BLUE, GREEN

NOTE = """## Which settings are best?

Press **Run**. **Grid** makes the same four pictures under 25 combinations: **guidance_scale** from left to right,
**steps** from top to bottom. It scores each and marks the best cell.

- A click on a cell shows its pictures large; the arrow keys lead to its neighbours.
- Beside each row and column stands its mean. The blue line says how far it might be off.
- The lines below the grid say whether a lead is more than chance. More **seeds** tell more surely.

Now write *1, 2, 3, 5, 8, 12* into **column_values** and run again: only the new column is made.

Other things to compare: pick *scheduler* and write *ddim, euler, dpmpp_2m*; pick *prompt* with several lines in
**Prompts**; pick *model* and connect more loaders; pick *lora_strength* with a **Load Taste LoRA** before the grid and
write *0, 0.5, 1*. A third setting goes into **pages**.

Stop whenever you like: what is made is kept, and the next run goes on.
"""


def grid(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": "a small yellow star at the top of a purple background"})
    made = Node(
        "TastemakerGrid",
        {
            "columns": "guidance_scale",
            "column_values": "1, 2, 3, 5, 8",
            "rows": "steps",
            "row_values": "3, 6, 10, 16, 25",
            "seeds": 4,
            "seed": 7,
        },
        {"model": (model, "model"), "reward": (reward, "reward"), "prompts": (prompts, "prompts")},
    )
    save = Node(
        "SaveImage", {"filename_prefix": "tastemaker/grid"}, {"images": (made, "sheet")}, title="Save the sheet"
    )
    note = Node("MarkdownNote", {"text": NOTE}, size=(370, 640))
    groups = lay_out(
        [[note], [model, reward, prompts], [made], [save]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Compare", GREEN, [made]),
            Frame("3  Keep", AMBER, [save]),
        ],
    )
    return build("grid", [note, model, reward, prompts, made, save], groups, info)
