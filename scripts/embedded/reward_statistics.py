"""Measure mean and standard deviation of the embedded rewards; print the lines for `rewards/models/tiny_*.py`.

    python -m scripts.embedded.reward_statistics

On pictures drawn of captions it was not trained on: half have their own caption, half another's, so the
figures cover what is well described and what is not. tiny-aesthetic reads no captions: the same pictures, clean.
"""

from __future__ import annotations

import numpy as np
import torch

from scripts.embedded.measure import held_out_captions
from scripts.embedded.worlds import SHAPES
from tastemaker.rewards import Statistics, load_reward, measured

COUNT, SEED = 500, 0
SOURCE = f"measured by scripts/embedded/reward_statistics.py on {COUNT} drawn pictures of the embedded world"
CAPTIONED = SOURCE + ", half of them with their own caption, half with another's"


def main() -> None:
    images, texts = _pictures()
    _show(measured(load_reward("tiny-imagereward"), images, texts, CAPTIONED))
    _show(measured(load_reward("tiny-aesthetic"), images, [""] * COUNT, SOURCE))


def _pictures() -> tuple[torch.Tensor, list[str]]:
    """Pictures (N, H, W, 3) in [0, 1], and texts, the second half moved on by one."""
    scenes, captions = held_out_captions(SHAPES, COUNT)
    rng = np.random.default_rng(SEED)
    images = torch.from_numpy(np.stack([SHAPES.draw(scene, rng) for scene in scenes])).float() / 255
    texts = [caption.text for caption in captions]
    half = COUNT // 2
    texts[half:] = texts[half + 1 :] + texts[half : half + 1]
    return images, texts


def _show(found: Statistics) -> None:
    print(f"statistics=Statistics({found.mean:.4f}, {found.std:.4f}, {found.source!r}),")


if __name__ == "__main__":
    main()
