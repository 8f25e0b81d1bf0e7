"""Measure mean and standard deviation of the embedded rewards; print the lines for `rewards/models/tiny_*.py`.

    python -m scripts.embedded.reward_statistics

On pictures drawn of captions it was not trained on: half have their own caption, half another's, so the
figures cover what is well described and what is not. tiny-aesthetic reads no captions: the same pictures, clean.
"""

from __future__ import annotations

import numpy as np
import torch

from scripts.embedded.measure import held_out_captions
from scripts.embedded.world import Jitter, draw
from tastemaker.rewards import Statistics, load_reward, measured

COUNT, SEED = 500, 0
SOURCE = (
    f"measured by scripts/embedded/reward_statistics.py on {COUNT} drawn pictures of the embedded world, half of them "
    "with their own caption, half with another's"
)


AESTHETIC_SOURCE = f"measured by scripts/embedded/reward_statistics.py on {COUNT} drawn pictures of the embedded world"


def main() -> None:
    scenes, captions = held_out_captions(COUNT)
    rng = np.random.default_rng(SEED)
    images = torch.from_numpy(np.stack([draw(scene, Jitter.random(rng)) for scene in scenes]))
    texts = [caption.text for caption in captions]
    half = COUNT // 2
    texts[half:] = texts[half + 1 :] + texts[half : half + 1]
    found = measured(load_reward("tiny-imagereward"), images, texts, SOURCE)
    _show(found)
    _show(measured(load_reward("tiny-aesthetic"), images, [""] * COUNT, AESTHETIC_SOURCE))


def _show(found: Statistics) -> None:
    print(f"statistics=Statistics({found.mean:.4f}, {found.std:.4f}, {found.source!r}),")


if __name__ == "__main__":
    main()
