"""Where a score comes from: rewards that look at one half of a picture, with a gradient and without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tastemaker.plots.heat import heated
from tastemaker.rewards import custom
from tastemaker.rewards.heat import heat_map


def of_the_left(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    return (images[:, :, : images.shape[2] // 2] ** 2).mean((1, 2, 3))


def pictures() -> torch.Tensor:
    return torch.rand(2, 32, 48, 3, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("differentiable", [True, False])
def test_it_is_hot_where_the_reward_looks(differentiable: bool) -> None:
    heat = heat_map(custom("left", of_the_left, differentiable=differentiable), pictures(), "")
    assert heat.shape == (2, 32, 48)
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert heat[:, :, :20].mean() > 0.3
    assert heat[:, :, 28:].max() < 1e-6  # the blur reaches a little over the middle


def test_where_memory_runs_out_fewer_copies_at_once_make_the_same_map() -> None:
    def scarce(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        if len(images) > 5:
            raise torch.OutOfMemoryError("no room")
        return of_the_left(images, prompts)

    plenty, little = (
        heat_map(custom("left", one, differentiable=True), pictures(), "") for one in (of_the_left, scarce)
    )
    torch.testing.assert_close(plenty, little, rtol=1e-4, atol=1e-5)


def test_what_nothing_changes_is_cold() -> None:
    flat = custom("flat", lambda images, prompts: torch.ones(len(images)))
    assert heat_map(flat, pictures(), "").abs().max() == 0


def test_an_embedded_reward_of_a_picture_with_its_prompt(tiny_reward: Any) -> None:
    """The subject, which the prompt names, is hotter than the empty edge of the picture."""
    y, x = torch.meshgrid(torch.arange(64) - 32, torch.arange(64) - 32, indexing="ij")
    picture = torch.tensor([0.13, 0.36, 0.88]).expand(1, 64, 64, 3).clone()
    picture[0, (x**2 + y**2) < 14**2] = torch.tensor([0.86, 0.13, 0.15])
    heat = heat_map(tiny_reward, picture, "a red circle on a blue background")[0]
    edge = torch.cat([heat[:8].flatten(), heat[-8:].flatten()])
    assert heat[16:48, 16:48].mean() > 2 * edge.mean()


def test_cold_places_are_grey_and_dark_and_hot_ones_as_they_are() -> None:
    red = Image.new("RGB", (8, 8), (200, 20, 20))
    heat = np.zeros((8, 8))
    heat[:, 4:] = 1
    shown = np.asarray(heated(red, heat))
    assert shown[4, 7].tolist() == [200, 20, 20]
    assert len(set(shown[4, 0].tolist())) == 1
    assert shown[4, 0, 0] < 60
