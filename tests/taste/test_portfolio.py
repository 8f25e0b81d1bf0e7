"""More like mine: a colour family is learned, a file's artefacts are not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tastemaker.core.errors import InputError
from tastemaker.images.convert import from_pil
from tastemaker.images.pictures import as_pictures
from tastemaker.taste.portfolio import area, equalised, learn_portfolio

COUNT = 50


def scenes(count: int, seed: int, *, warm: bool = False) -> torch.Tensor:
    """Smooth pictures of a disc in random colours, or on grounds of the warm family alone: (B, 64, 64, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    made = []
    for _ in range(count):
        ground, shape = rng.uniform(0.15, 0.85, 3), rng.uniform(0.15, 0.85, 3)
        ground = rng.uniform((0.6, 0.2, 0.1), (0.9, 0.5, 0.3)) if warm else ground
        cx, cy, r = *rng.uniform(-0.4, 0.4, 2), rng.uniform(0.3, 0.6)
        disc = 1 / (1 + np.exp(20 * (np.hypot(x - cx, y - cy) - r)))[..., None]
        picture = ground * (1 - disc) + shape * disc + rng.normal(0, 0.02, (64, 64, 3))
        made.append(np.clip(picture, 0, 1))
    return torch.from_numpy(np.stack(made)).float()


def as_jpeg(batch: torch.Tensor, quality: int = 70) -> torch.Tensor:
    made = []
    for picture in batch:
        data = io.BytesIO()
        Image.fromarray((picture.numpy() * 255).round().astype("uint8")).save(data, "JPEG", quality=quality)
        made.append(from_pil(Image.open(data)).reshape(64, 64, 3))
    return torch.stack(made)


def test_one_colour_family_is_told_from_the_models(tiny_reward: Any) -> None:
    mine, others = as_pictures(scenes(COUNT, 1, warm=True)), as_pictures(scenes(COUNT, 2))
    taste, auc = learn_portfolio(mine, others, tiny_reward)
    assert auc > 0.9
    assert len(taste.counted) == COUNT


def test_jpeg_against_png_is_not(tiny_reward: Any) -> None:
    mine, others = as_pictures(as_jpeg(scenes(COUNT, 3))), as_pictures(scenes(COUNT, 4))
    assert learn_portfolio(mine, others, tiny_reward)[1] < 0.65


def test_borders_and_size_go() -> None:
    plain = Image.fromarray((scenes(1, 5)[0].numpy() * 255).round().astype("uint8")).resize((300, 300))
    framed = Image.new("RGB", (320, 320), "white")
    framed.paste(plain, (10, 10))
    a, b = (np.asarray(equalised(one), dtype=float) for one in (plain, framed))
    assert a.shape == b.shape == (256, 256, 3)
    assert np.abs(a - b).mean() < 3


def test_area_by_hand() -> None:
    assert area(np.array([1.0, 2.0]), np.array([0.0, 1.0])) == pytest.approx(3.5 / 4)


def test_three_pictures_are_too_few(tiny_reward: Any) -> None:
    few = as_pictures(scenes(3, 1))
    with pytest.raises(InputError, match="at least 4"):
        learn_portfolio(few, few, tiny_reward)
