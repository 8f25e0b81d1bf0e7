"""Score a Ray Dataset: `score_dataset(ray.data.read_images(...), {"imagereward-v1.0": 1.0}, ...)`, an actor a GPU.

Ray is not a dependency: `pip install "tastemaker[ray]"`. Rows keep their columns; each gets a float32 column a reward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from ..images.decode import PictureError, decode_bytes
from .scale.plan import Plan, load_rewards

if TYPE_CHECKING:
    import ray.data
    from PIL import Image

PROBLEM = "problem"


class Scorer:
    """What an actor of `Dataset.map_batches` runs: the rewards, loaded once, and batches scored one by one.

    Args:
        rewards: name -> weight, as in a plan (`scale.plan`).
        models_folder: where the rewards' files are on every machine.
        image: the column of pictures: `bytes` of their files, or uint8 arrays (H, W, 3).
        prompt: the column of prompts; empty where there is none.
        default_prompt: for rows without one.
        device, dtype: where and in what rewards run; empty: a GPU in float16 where the actor has one.
    """

    def __init__(
        self,
        rewards: Mapping[str, float],
        *,
        models_folder: str = ".",
        image: str = "image",
        prompt: str = "prompt",
        default_prompt: str = "",
        device: str = "",
        dtype: str = "",
    ) -> None:
        import torch

        plan = Plan(("",), dict(rewards), "", models_folder=models_folder, default_prompt=default_prompt, dtype=dtype)
        self.reward = load_rewards(plan, device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.image, self.prompt, self.default_prompt = image, prompt, default_prompt

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the batch with a column for each reward, NaN for a picture that cannot be read, and why."""
        if self.image not in batch:
            raise InputError("image", self.image, f"The dataset has the columns {', '.join(batch)}.")
        count = len(batch[self.image])
        problems = np.array([""] * count, dtype=object)
        pictures: dict[int, Image.Image] = {}
        for i, value in enumerate(batch[self.image]):
            try:
                pictures[i] = _decoded(value)
            except PictureError as e:
                problems[i] = str(e)
        columns = {name: np.full(count, math.nan, dtype=np.float32) for name in self.reward.column_names}
        if pictures:
            texts = batch[self.prompt] if self.prompt in batch else [""] * count
            prompts = [str(texts[i] or "") or self.default_prompt for i in pictures]
            for name, scores in self.reward.picture_columns(list(pictures.values()), prompts).items():
                columns[name][list(pictures)] = scores.numpy()
        return {**batch, **columns, PROBLEM: problems}


def _decoded(value: Any) -> Image.Image:
    """Return a picture of its file's bytes, or of its pixels. Raises PictureError for what is neither."""
    from PIL import Image

    if isinstance(value, bytes):
        return decode_bytes(value, keep_mode=True)
    pixels = np.asarray(value)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise PictureError(f"is no picture: bytes, or uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}")
    return Image.fromarray(pixels)


def score_dataset(
    dataset: ray.data.Dataset,
    rewards: Mapping[str, float],
    *,
    workers: int = 1,
    gpus_each: float = 0.0,
    batch_size: int = 64,
    **options: Any,
) -> ray.data.Dataset:
    """Return the dataset with a column for each reward, scored by `workers` actors; lazy, as Ray's datasets are.

    `gpus_each` is what an actor holds of a GPU: 1 gives each its own. `options` are those of `Scorer`.
    """
    return dataset.map_batches(
        Scorer,
        fn_constructor_args=(dict(rewards),),
        fn_constructor_kwargs=options,
        batch_size=batch_size,
        concurrency=workers,
        num_gpus=gpus_each,
    )
