"""Entries of the registry, and what a network may ask for of pixels and prompts."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tastemaker.rewards import REWARDS, combine, custom, models
from tastemaker.rewards.known import KnownReward
from tastemaker.rewards.models.pixels import PixelNetwork

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)  # white becomes 1, 3, 1; black -1, -1, 0


def test_every_entry_that_a_file_ends_in_is_collected() -> None:
    found = []
    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        found += [value for value in vars(import_module(module.name)).values() if isinstance(value, KnownReward)]
    assert len(found) >= 9
    assert sorted(known.name for known in found) == sorted(REWARDS)
    assert all(REWARDS[known.name] is known for known in found)


@pytest.mark.parametrize("known", REWARDS.values(), ids=list(REWARDS))
def test_an_entry_says_what_people_need_to_know(known: KnownReward) -> None:
    assert known.meaning.endswith(".")
    assert known.source.endswith(".")
    assert all(file.gigabytes > 0 and "models/rewards" in file.command for file in known.files)
    assert all(path.is_file() for path in known.shipped_files())


def _network(view: str) -> PixelNetwork:
    """The mean of each channel of what it sees, as one number: red + 10 green + 100 blue."""
    weights = torch.tensor([1.0, 10.0, 100.0])
    scores = lambda pixels, prompts: pixels.mean((2, 3)) @ weights  # noqa: E731
    return PixelNetwork(nn.Linear(1, 1), scores, 8, MEAN, STD, view)


@pytest.mark.parametrize(("view", "wanted"), [("crop", 131.0), ("fit", (131.0 - 11.0) / 2)])
def test_a_network_sees_its_own_mean_std_and_view(view: str, wanted: float) -> None:
    """White, twice as wide as high: its middle is white, and the whole of it has as much black beside it."""
    network, images = _network(view), torch.ones(1, 16, 32, 3)
    picture = Image.fromarray(np.full((16, 32, 3), 255, dtype=np.uint8))
    assert network.score(images, [""]).tolist() == pytest.approx([wanted], abs=1e-4)
    assert network.picture_score([picture], [""]).tolist() == pytest.approx([wanted], abs=1e-4)
    assert network.gradient_score(images, [""]).tolist() == pytest.approx([wanted], abs=1e-4)


def test_what_is_not_read_is_said_by_name_once_for_each_prompt(caplog: pytest.LogCaptureFixture) -> None:
    def reward(name: str, most: int):
        made = custom(name, lambda images, prompts: images.mean((1, 2, 3)))
        return replace(made, overflow=lambda text: [f"{text[most:]} is not read"] if len(text) > most else [])

    both = combine([(reward("a", 2), 1.0), (reward("b", 3), 1.0), (custom("c", len), 1.0)], mode="ranks")
    assert both.overflows(["abcd", "abc", "abcd", "ab"]) == {
        "a": ["cd is not read", "c is not read"],
        "b": ["d is not read"],
    }
    assert both.overflows(["ab"]) == {}
    images = torch.rand(2, 4, 4, 3)
    two = combine([(reward("a", 2), 1.0), (reward("b", 3), 1.0)], mode="ranks")
    two(images, "abcd")
    assert caplog.messages == ["a: cd is not read", "b: d is not read"]
    caplog.clear()
    assert torch.equal(two.silent(images, "abcd"), two(images, "ab"))
    assert caplog.messages == []


def test_a_reward_file_is_found_by_its_name() -> None:
    places = {known.name: Path(import_module(known.build.__module__).__file__ or "").stem for known in REWARDS.values()}
    assert places["pickscore-v1"] == "pickscore"
    assert places["hps-v2.1"] == "hps"
    assert places["aesthetic-v2"] == "aesthetic"
