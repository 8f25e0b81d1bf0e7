"""The embedded reward through the protocol: shapes, errors, batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scripts.embedded.world import Scene, draw
from tastemaker.loaders import InputError, NonFiniteError
from tastemaker.rewards import load_reward

HEART = Scene("heart", "red", "blue", "large", "centre")
PROMPT = "a large red heart on a blue background"


def pictures(*scenes: Scene) -> torch.Tensor:
    return torch.from_numpy(np.stack([draw(s) for s in scenes]))


@pytest.mark.parametrize(
    "change", [{"shape": "star"}, {"colour": "green"}, {"background": "yellow"}, {"size": "small"}]
)
def test_the_matching_picture_scores_higher(tiny_reward, change: dict[str, str]) -> None:
    scores = tiny_reward(pictures(HEART, replace(HEART, **change)), PROMPT)
    assert scores[0] > scores[1]


def test_scores_are_one_float32_an_image(tiny_reward) -> None:
    scores = tiny_reward(pictures(HEART, HEART, HEART), PROMPT)
    assert scores.shape == (3,)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad


def test_batching_changes_rounding_only(tiny_reward) -> None:
    images = pictures(HEART, replace(HEART, colour="pink"), replace(HEART, shape="moon"))
    one_by_one = replace(tiny_reward, batch_size=1)
    assert (tiny_reward(images, PROMPT) - one_by_one(images, PROMPT)).abs().max() <= 1e-5


def test_each_image_has_its_own_prompt(tiny_reward) -> None:
    images = pictures(HEART, replace(HEART, shape="star"))
    star = "a large red star on a blue background"
    own = tiny_reward(images, [PROMPT, star])
    crossed = tiny_reward(images, [star, PROMPT])
    assert (own > crossed).all()


@pytest.mark.parametrize("size", [(1, 1), (17, 64), (200, 64), (512, 512)])
def test_any_size_can_be_scored(tiny_reward, size: tuple[int, int]) -> None:
    assert torch.isfinite(tiny_reward(torch.rand(2, *size, 3), PROMPT)).all()


def test_an_inference_tensor_and_a_strided_view_can_be_scored(tiny_reward) -> None:
    with torch.inference_mode():
        images = pictures(HEART, HEART)
    assert torch.isfinite(tiny_reward(images.flip(2)[:, ::2], PROMPT)).all()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(0, 8, 8, 3), "empty"),
        (torch.zeros(1, 8, 8, 4), "3 channels"),
        (torch.zeros(1, 8, 8, 1), "3 channels"),
        (torch.zeros(8, 8, 3), "shape"),
        (torch.full((2, 8, 8, 3), float("nan")), "image 1 of 2"),
        ("a path", "shape"),
    ],
)
def test_bad_images_are_named(tiny_reward, images: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        tiny_reward(images, PROMPT)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ("", "has none"),
        ("  ", "has none"),
        (["a", "b", "c"], "2 images"),
        ("bad \ud800", "surrogate"),
    ],
)
def test_bad_prompts_are_named(tiny_reward, prompts: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        tiny_reward(pictures(HEART, HEART), prompts)


def test_a_cut_prompt_is_announced_and_scored(tiny_reward, caplog) -> None:
    prompt = "star " * 34 + "heart"  # 33 pieces fit
    scores = tiny_reward(pictures(HEART), prompt)
    assert torch.isfinite(scores).all()
    assert "only the first 33 of the 35 word pieces" in caplog.text
    assert (scores == tiny_reward(pictures(HEART), "star " * 33)).all()
    caplog.clear()
    tiny_reward(pictures(HEART), "star " * 33)
    assert not caplog.text


def test_a_nan_score_names_the_reward_and_the_picture(tiny_reward) -> None:
    broken = replace(tiny_reward, score=lambda images, prompts: torch.tensor([1.0, float("nan")]))
    with pytest.raises(NonFiniteError, match=r"tiny-imagereward scored picture 2 as nan"):
        broken(pictures(HEART, HEART), PROMPT)


def test_a_reward_of_the_wrong_length_is_named(tiny_reward) -> None:
    broken = replace(tiny_reward, score=lambda images, prompts: torch.zeros(1))
    with pytest.raises(NonFiniteError, match="shape"):
        broken(pictures(HEART, HEART), PROMPT)


def test_an_unknown_reward() -> None:
    with pytest.raises(InputError, match="tiny-imagereward"):
        load_reward("../../etc/passwd")
