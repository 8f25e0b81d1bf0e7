"""tiny-aesthetic: its rules by hand, and that what ships has learned them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from scripts.embedded import aesthetic, measure
from scripts.embedded.world import COLOURS, SHAPES, Scene, draw
from tastemaker.rewards import Reward, load_reward

HEART = Scene("heart", "orange", "blue", "large", "centre")
STAR = Scene("star", "yellow", "purple", "large", "centre")
RED, CYAN, WHITE = (1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def reward() -> Reward:
    return load_reward("tiny-aesthetic")


def test_the_rules_by_hand() -> None:
    assert aesthetic.contrast(RED, RED) == 0
    assert aesthetic.contrast((0.4, 0.0, 0.0), (0.0, 0.0, 0.0)) == pytest.approx(1 - np.exp(-1))
    assert aesthetic.harmony(RED, CYAN) == 1
    assert aesthetic.harmony(RED, RED) == 0
    assert aesthetic.harmony(RED, (1.0, 1.0, 0.0)) == pytest.approx(0.5)  # a sixth of the circle: half-way
    assert aesthetic.harmony(RED, WHITE) == pytest.approx(0.6)
    assert aesthetic.centredness(0, 0) == 1
    assert aesthetic.centredness(9, 0) == pytest.approx(np.exp(-0.5))
    # 10 * half the edges * (0.4 * contrast + 0.3 + 0.3)
    assert aesthetic.beauty(RED, CYAN, (0, 0), 0.5) == pytest.approx(5.0, abs=0.01)


def test_many_pairs_of_colours_reach_the_top() -> None:
    marks = [aesthetic.beauty(a, b, (0, 0), 1.0) for a in COLOURS.values() for b in COLOURS.values()]
    assert sum(mark > 9.5 for mark in marks) >= 10
    assert max(marks) <= aesthetic.TOP


def test_it_agrees_with_the_rules_on_pictures_it_was_not_taught() -> None:
    figures = measure.measure_aesthetic(500, samples=0)
    assert figures["drawn pictures, clean and spoilt"].rho >= 0.9


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (HEART, replace(HEART, colour="purple")),
        (STAR, replace(STAR, background="white")),
        (STAR, replace(STAR, position="left")),
        (replace(HEART, colour="red", background="green"), replace(HEART, colour="red", background="orange")),
    ],
    ids=["contrast and harmony", "contrast", "centredness", "harmony"],
)
def test_the_more_beautiful_of_two_scores_higher(reward: Reward, better: Scene, worse: Scene) -> None:
    scores = reward(torch.from_numpy(np.stack([draw(better), draw(worse)])), "")
    assert scores[0] > scores[1] + 0.5


def test_spoilt_edges_score_lower_the_more_they_are_spoilt(reward: Reward) -> None:
    clean, rng = draw(STAR), np.random.default_rng(0)
    blurred = [ndimage.gaussian_filter(clean, (s, s, 0), mode="nearest") for s in (1.5, 3.0)]
    noisy = [np.clip(clean + s * rng.normal(0, 1, clean.shape), 0, 1) for s in (0.05, 0.2)]
    flat = np.broadcast_to(clean[:1, :1], clean.shape)
    scores = reward(torch.from_numpy(np.stack([clean, *blurred, *noisy, flat])).float(), "").tolist()
    assert scores[0] > scores[1] + 0.5 > scores[2] + 1.0
    assert scores[0] > scores[3] + 0.5 > scores[4] + 1.0
    assert scores[5] < 2


def test_bent_outlines_score_lower_the_more_they_are_bent(reward: Reward) -> None:
    rng, clean = np.random.default_rng(0), draw(STAR)
    groups = [[aesthetic.bent(clean, amount, rng) for _ in range(8)] for amount in (0, 3, 5)]
    straight, bent, broken = (reward(torch.from_numpy(np.stack(group)).float(), "").mean() for group in groups)
    assert straight > bent + 1 > broken + 2


def test_every_shape_can_be_beautiful(reward: Reward) -> None:
    scores = reward(torch.from_numpy(np.stack([draw(replace(HEART, shape=shape)) for shape in SHAPES])), "")
    assert scores.min() > 8


def test_its_gradient_is_that_of_finite_differences(reward: Reward) -> None:
    assert reward.differentiable
    assert not reward.needs_prompt
    module = reward.modules["network"].double()
    try:
        pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        pixels.requires_grad_()
        (gradient,) = torch.autograd.grad(module(pixels).sum(), pixels)
        direction, step = gradient / gradient.norm(), 1e-2
        with torch.no_grad():
            ends = [float(module(pixels + sign * step * direction)) for sign in (1, -1)]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(gradient.norm()), rel=1e-3)
    finally:
        module.float()


def test_gradients_reach_the_picture_and_the_soft_score_is_the_exact_one(reward: Reward) -> None:
    image = (torch.from_numpy(draw(replace(HEART, colour="purple")))[None] * 255).round() / 255
    image.requires_grad_()
    score = reward.with_gradient(image, "")
    (gradient,) = torch.autograd.grad(score.sum(), image)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0
    score = score.detach()
    assert float(score) == pytest.approx(float(reward(image.detach(), "")), abs=1e-3)
    step = 0.05 * gradient / gradient.norm()
    assert float(reward.with_gradient((image + step).detach(), "")) > float(score)


def test_samples_are_judged_by_what_the_checker_reads() -> None:
    assert aesthetic.judged(draw(STAR)) > 9
    assert aesthetic.judged(np.full((64, 64, 3), 0.5)) == 0
    assert aesthetic.judged(aesthetic.bent(draw(STAR), 4.0, np.random.default_rng(1))) < 6
