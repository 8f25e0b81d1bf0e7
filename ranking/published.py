"""`score` and `inference_rank` as in ImageReward's published example, for any reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.groups import rank

if TYPE_CHECKING:
    from PIL import Image

    from ..rewards.reward import Reward


def score(
    reward: Reward, prompt: str, picture: Image.Image | Path | str | Sequence[Image.Image | Path | str]
) -> float | list[float]:
    """Score a picture or picture file, or a list of them.

    Raises InputError for a file that cannot be opened.
    """
    if isinstance(picture, (str, Path)) or not isinstance(picture, Sequence):
        return inference_rank(reward, prompt, [picture])[1][0]
    return inference_rank(reward, prompt, picture)[1]


def inference_rank(
    reward: Reward, prompt: str, pictures: Sequence[Image.Image | Path | str]
) -> tuple[list[int], list[float]]:
    """Return ranks (1 is best; equal scores share the better one) and scores of pictures for one prompt."""
    scores = reward.picture_columns(list(pictures), prompt)[reward.name]
    return rank(scores).tolist(), scores.tolist()
