"""The held-out comparison, by hand and in a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tastemaker.core.errors import NonFiniteError
from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.sampling import sample
from tastemaker.training import finetune
from tastemaker.training.heldout import HeldOut, best_so_far, compare, diversity
from tastemaker.training.scoring import check_terms

from .conftest import PROMPTS, brightness, quick, redness


def flat(*values: float) -> torch.Tensor:
    return torch.stack([torch.full((2, 2, 3), v) for v in values])


def test_diversity_by_hand() -> None:
    # a: 0, 0.3 -> 0.3; b: 0.5, 0.5, 0.8 -> 0, 0.3, 0.3; mean of the four distances
    images = flat(0.0, 0.5, 0.3, 0.5, 0.8)
    assert diversity(images, ["a", "b", "a", "b", "b"]) == pytest.approx(0.9 / 4)
    assert diversity(images[:2], ["a", "b"]) == 0.0


def test_a_comparison_by_hand() -> None:
    """Brightness 0.2, 0.4 -> 0.5, 0.3: one of two wins; the mean gains 0.1, one standard deviation of the base."""
    found = compare(flat(0.2, 0.4), flat(0.5, 0.3), ["a", "a"], [("brightness", brightness)])
    row = found["rewards"]["brightness"]
    assert (row["base"], row["tuned"], row["win_rate"]) == (pytest.approx(0.3), pytest.approx(0.4), 0.5)
    assert (row["base_std"], row["gain_in_base_std"]) == (pytest.approx(0.1), pytest.approx(1.0))
    assert row["win_rate_low"] < 0.5 < row["win_rate_high"]
    assert (found["diversity_base"], found["diversity_tuned"]) == (pytest.approx(0.2), pytest.approx(0.2))


@pytest.mark.parametrize("train", ["lora", "full"])
def test_the_comparison_afterwards_is_that_of_the_tuned_models_pictures(small_ddpm: DiffusionModel, train: str) -> None:
    """Another sampler than the one trained with: 3 ddim steps without fresh noise, from the same seeds."""
    config = quick(epochs=1, evaluate_every=1, evaluate_samples=2, evaluate_steps=3, train=train, ema_decay=0.5)
    run = finetune(small_ddpm, redness, "", config)
    [report] = run
    row = report.evaluation["afterwards"]["rewards"]["redness"]
    settings = {"seeds": run.held_out.seeds, "scheduler": "ddim", "steps": 3, "eta": 0.0}
    for name, model in (("base", small_ddpm), ("tuned", run.model)):
        images = sample(model, "", **settings).images
        assert row[name] == pytest.approx(float(redness(images, [""] * 2).double().mean()), rel=1e-6)
    assert row["base"] != row["tuned"]
    none = finetune(small_ddpm, redness, "", quick(epochs=1, evaluate_every=1, evaluate_samples=2, evaluate_steps=0))
    assert "afterwards" not in next(none).evaluation


def test_patience_by_hand() -> None:
    assert not best_so_far([1, 2, 3], 2)
    assert best_so_far([1, 3, 2, 3], 2)  # no better twice; a tie is no better
    assert not best_so_far([3, 2], 2)  # too few to say
    assert not best_so_far([3, 2, 1], 0)


def darkness(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
    return -brightness(images, prompts)


def test_a_run_compares_on_prompts_and_seeds_it_does_not_train_on(small_sdxl: DiffusionModel) -> None:
    seen: list[tuple[str, ...]] = []

    def spy(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        seen.append(tuple(prompts))
        return brightness(images, prompts)

    held_out = ["a pink moon", "a purple ring"]
    config = quick(epochs=2, evaluate_every=2, evaluate_samples=4)
    run = finetune(small_sdxl, spy, PROMPTS, config, held_out_prompts=held_out, watched_reward=darkness)
    first, second = run
    assert first.evaluation is None
    found = second.evaluation
    assert found["held_out_prompts"]
    assert list(found["rewards"]) == ["spy", "watched: darkness"]
    assert found["rewards"]["spy"]["tuned"] == pytest.approx(-found["rewards"]["watched: darkness"]["tuned"])
    assert set(seen[-4:]) == {("a pink moon", "a pink moon", "a purple ring", "a purple ring")}
    assert not set(seen[0]) & set(held_out)


def test_an_untuned_model_does_not_differ_from_its_base(small_sdxl: DiffusionModel) -> None:
    """The base's pictures and the policy's are made by the same code: with nothing learned they are the same."""

    def nothing(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return torch.zeros(len(images))

    config = quick(epochs=1, evaluate_every=1, evaluate_samples=4)
    [report] = finetune(small_sdxl, nothing, PROMPTS, config, watched_reward=brightness)
    row = report.evaluation["rewards"]["watched: brightness"]
    assert (row["win_rate"], row["base"]) == (0.5, row["tuned"])
    assert not report.evaluation["held_out_prompts"]


def test_a_run_stops_when_the_watched_reward_falls(small_ddpm: DiffusionModel, tmp_path) -> None:
    """Trained on brightness and watched on a figure that falls at each comparison."""
    calls = 0

    def falling(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return torch.arange(float(len(images))) - calls

    config = quick(epochs=9, evaluate_every=1, evaluate_samples=4, patience=2)
    run = finetune(small_ddpm, brightness, "", config, watched_reward=falling, run_folder=tmp_path / "run")
    assert [r.epoch for r in run] == [1, 2, 3]
    assert "Stopped after epoch 3" in run.stopped
    assert run.finished
    again = finetune(small_ddpm, brightness, "", config, watched_reward=falling, run_folder=tmp_path / "run")
    assert again.finished
    assert list(again) == []
    assert math.isfinite(again.reports[-1].reward)


def test_what_is_no_watched_reward_is_refused(small_ddpm: DiffusionModel) -> None:
    with pytest.raises(InputError, match="watched_reward"):
        finetune(small_ddpm, brightness, "", quick(), watched_reward="taste")
    with pytest.raises(InputError, match="held_out_prompts: .* unconditional"):
        finetune(small_ddpm, brightness, "", quick(), held_out_prompts=["a church"])


def test_what_no_comparison_would_use_is_refused(small_sdxl: DiffusionModel) -> None:
    with pytest.raises(InputError, match="held_out_prompts: No comparison is made.* set evaluate_every"):
        finetune(small_sdxl, brightness, PROMPTS, quick(), held_out_prompts=["a pink moon"])
    with pytest.raises(InputError, match="watched_reward: No comparison is made"):
        finetune(small_sdxl, brightness, PROMPTS, quick(), watched_reward=darkness)
    with pytest.raises(InputError, match="held_out_prompts: None of them may be empty"):
        finetune(small_sdxl, brightness, PROMPTS, quick(evaluate_every=1), held_out_prompts=["a pink moon", " "])


def test_a_watched_reward_that_fails_is_named_and_costs_one_epoch(small_ddpm: DiffusionModel, tmp_path) -> None:
    """With a checkpoint every 10 epochs: the epoch before is saved."""

    def odd(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([0.0] * (len(images) - 1) + [math.nan])

    config = quick(epochs=4, evaluate_every=2, evaluate_samples=4, checkpoint_every=10)
    run = finetune(small_ddpm, brightness, "", config, watched_reward=odd, run_folder=tmp_path / "run")
    with pytest.raises(NonFiniteError, match="watched: odd scored picture 4 of 4 as nan"):
        list(run)
    assert finetune(small_ddpm, brightness, "", config, run_folder=tmp_path / "run").epoch == 1


def test_patience_compares_like_with_like(small_sdxl: DiffusionModel) -> None:
    """A run that goes on with other held-out prompts, or another watched reward, forgets the figures before."""
    config = quick(evaluate_every=1)

    def compared(reward: str, fresh: bool, value: float) -> dict[str, Any]:
        return {"held_out_prompts": fresh, "rewards": {reward: {"tuned": value}}}

    known = [
        compared("brightness", False, 1.0),
        compared("watched: darkness", True, 2.0),
        compared("watched: darkness", False, 3.0),
    ]
    terms = check_terms(brightness)
    assert HeldOut(small_sdxl, config, PROMPTS, ["a moon"], darkness).watched(known, terms) == [2.0]
    assert HeldOut(small_sdxl, config, PROMPTS, None, darkness).watched(known, terms) == [3.0]
    assert HeldOut(small_sdxl, config, PROMPTS, None, None).watched(known, terms) == [1.0]
