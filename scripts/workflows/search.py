"""The example workflow that searches: a budget, a method, and best-of-N beside it."""

from __future__ import annotations

from typing import Any

from .builder import build
from .layout import Frame, Node, lay_out
from .theme import AMBER, BLUE, GREEN

PROMPTS = """a small yellow star at the top of a purple background
a large pink moon on the left of a green background"""

NOTE = """## Search

The best pictures that so much compute can find.

1. **Load Taste Model**, **Load Reward**, **Prompts**: what to make, and who judges.
2. **Search** spends its **budget** on each prompt: 192 network evaluations are 16 pictures of 12
   steps. It keeps the best two.
3. **Save Ranked** writes them to *output/tastemaker*. How each was made stands in the PNG.

Press **Run**, and read what **Search** says: the cost, the best score, and what plain best-of-N
gives for the same. Then try another **method**:

- *noise search* looks around the noise of the best picture so far,
- *prune* begins many and finishes the promising ones,
- *particle steering* copies promising pictures on the way; set **eta** to 1,
- *drafts* lets quick pictures steer slow ones.

With **compare** on it measures best-of-N too, for the same cost once more. Its help page (?) says
what is known of each method.
"""

SEARCH = {"method": "noise search", "budget": 192, "keep": 2, "seed": 7, "steps": 12, "guidance_scale": 3.0}


def search(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": PROMPTS}, size=(320, 170))
    settings = Node("TastemakerSearchSettings", {})
    wires = {"model": (model, "model"), "prompts": (prompts, "prompts"), "reward": (reward, "reward")}
    found = Node("TastemakerSearch", SEARCH, {**wires, "settings": (settings, "settings")})
    save = Node("TastemakerSaveRanked", {"filename_prefix": "tastemaker/search"}, {"scores": (found, "scores")})
    note = Node("MarkdownNote", {"text": NOTE}, size=(360, 520))
    groups = lay_out(
        [[note], [model, reward, prompts], [settings], [found], [save]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Search", GREEN, [settings, found]),
            Frame("3  Keep", AMBER, [save]),
        ],
    )
    return build("search", [note, model, reward, prompts, settings, found, save], groups, info)
