"""ImageReward against what the reference implementation computed."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from tastemaker.loaders.formats.weights import fill, read_safetensors
from tastemaker.rewards.models._blip import VIT_LARGE, med_config
from tastemaker.rewards.models._blip_models import ImageRewardModel, to_official
from tastemaker.rewards.models.preprocess import CLIP_MEAN, CLIP_STD, pil_pixels
from tests.conftest import GOLDENS, OFFICIAL

GOLDEN = json.loads((GOLDENS / "imagereward_tiny.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def network() -> ImageRewardModel:
    with torch.device("meta"):
        made = ImageRewardModel(GOLDEN["config"]["vit"], GOLDEN["config"]["med"])
    state = read_safetensors(GOLDENS / "imagereward_tiny.safetensors")
    fill(
        made, {ours: v.float() for k, v in state.items() if (ours := ImageRewardModel.from_official(k))}, where="golden"
    )
    return made.eval()


@pytest.mark.parametrize("prompt", GOLDEN["rewards"], ids=lambda p: p[:20] or "empty")
def test_rewards_equal_the_reference(network: ImageRewardModel, prompt: str) -> None:
    ids = torch.tensor([GOLDEN["input_ids"][prompt]])
    for name, want in GOLDEN["rewards"][prompt].items():
        pixels = pil_pixels([Image.open(GOLDENS / name)], 224, CLIP_MEAN, CLIP_STD)
        with torch.no_grad():
            got = network(pixels, ids, (ids != 0).long()).item()
        assert got == pytest.approx(want, abs=1e-4), name


def full_size_keys() -> dict[str, list[int]]:
    return json.loads((GOLDENS / "imagereward_keys.json").read_text(encoding="utf-8"))


def test_full_size_keys_and_shapes_are_the_official_ones() -> None:
    med = med_config(OFFICIAL / "imagereward" / "med_config.json")
    with torch.device("meta"):
        state = ImageRewardModel(VIT_LARGE, med).state_dict()
    mine = {k: list(v.shape) for k, v in state.items() if not k.endswith("position_ids")}
    theirs = {ours: shape for k, shape in full_size_keys().items() if (ours := ImageRewardModel.from_official(k))}
    assert mine == theirs


def test_key_names_go_there_and_back() -> None:
    for key in full_size_keys():
        ours = ImageRewardModel.from_official(key)
        if ours is not None:
            assert list(to_official({ours: torch.zeros(1)})) == [key]
