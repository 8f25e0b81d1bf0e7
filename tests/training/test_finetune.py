"""Whole runs: what must hold of any of them, and rewards, prompts and settings that cannot be used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from tastemaker.core.errors import NonFiniteError, TastemakerError
from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.training import FineTuneConfig, finetune, preset
from tastemaker.training.learner.learner import Learner
from tastemaker.training.run.report import EpochReport

from .conftest import PROMPTS, brightness, quick, redness, same, state, trained, weights


def figures(reports: Sequence[EpochReport]) -> list[dict[str, Any]]:
    """Everything of the reports but how long it took."""
    return [{k: v for k, v in report.record().items() if k != "seconds"} for report in reports]


@pytest.mark.parametrize("name", ["small_sdxl", "small_ddpm"])
def test_a_run_learns_and_leaves_the_model_as_it_was(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    before = weights(model)
    run = trained(model)
    assert [r.epoch for r in run.reports] == [1, 2]
    for report in run.reports:
        assert report.first_ratio_error <= 1e-6
        assert (report.updates, report.pictures) == (2, 8)
        assert report.grad_norm > 0
        assert report.pairs + report.dropped == 8 * 2  # half of 4 steps; ddpm's 4th has no noise: half of 3, rounded up
    assert same(before, weights(model))
    assert not any(m._forward_hooks for m in model.unet.modules())
    tuned = run.model
    assert tuned.unet is model.unet
    assert tuned.fingerprint != model.fingerprint
    assert len(run.lora_state()) == 3 * len(tuned.loras[0].targets)


def test_the_reward_rises(small_ddpm: DiffusionModel) -> None:
    """Towards brighter pictures: the last six epochs' mean is over the first's by half its standard deviation.

    32 pictures an epoch: the mean of one epoch has a standard error of a sixth of that.
    """
    unclipped = replace(small_ddpm, scheduler_config={**small_ddpm.scheduler_config, "clip_sample": False})
    run = trained(
        unclipped,
        epochs=12,
        samples_per_epoch=32,
        clip_range=1e-2,
        advantages="batch",
        timestep_fraction=1.0,
        train_batch_size=64,
    )
    first, last = run.reports[0], run.reports[-6:]
    assert sum(r.reward for r in last) / 6 > first.reward + 0.5 * first.reward_std


def test_the_seed_alone_decides(small_sdxl: DiffusionModel) -> None:
    """Whatever the global random state is; another seed is another run."""
    torch.manual_seed(1)
    one = trained(small_sdxl, advantages="prompt", min_history=2)
    torch.manual_seed(2)
    state_before = torch.get_rng_state()
    two = trained(small_sdxl, advantages="prompt", min_history=2)
    assert torch.equal(torch.get_rng_state(), state_before)
    assert same(state(one), state(two))
    assert figures(one.reports) == figures(two.reports)
    assert not same(state(one), state(trained(small_sdxl, seed=1)))


def test_eight_at_once_is_eight_times_one(small_sdxl: DiffusionModel) -> None:
    """The batch size of learning changes rounding only: gradients of an update add up to the same."""
    once, often = (trained(small_sdxl, epochs=1, train_batch_size=size) for size in (8, 1))
    for key, tensor in state(once).items():
        if key.startswith("optimizer.exp_avg."):  # a tenth of the gradient, summed over the updates
            torch.testing.assert_close(tensor, state(often)[key], atol=1e-6, rtol=1e-3)
    assert once.reports[0].loss == pytest.approx(often.reports[0].loss, abs=1e-6)
    assert once.reports[0].pairs == often.reports[0].pairs


def test_recomputing_changes_rounding_only(small_sdxl: DiffusionModel) -> None:
    plain, again = trained(small_sdxl, epochs=1), trained(small_sdxl, epochs=1, gradient_checkpointing="on")
    assert plain.reports[0].grad_norm == pytest.approx(again.reports[0].grad_norm, rel=1e-4)


def test_it_works_inside_inference_mode(small_sdxl: DiffusionModel) -> None:
    """Hosts run nodes in it; rewards too may return what was made in it."""

    def hosted(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        with torch.inference_mode():
            return brightness(images, prompts)

    outside = trained(small_sdxl)
    with torch.inference_mode():
        run = finetune(small_sdxl, hosted, PROMPTS, quick())
        for _ in run:
            assert torch.is_inference_mode_enabled()
        assert not any(t.is_inference() for t in run.lora_state().values())
        assert run.model.loras
    assert same(state(run), state(outside))


@pytest.mark.parametrize(
    "changes",
    [
        {"scheduler": "ddpm"},
        {"scheduler": "euler_ancestral"},
        {"algorithm": "score", "updates_per_epoch": 1},
        {"advantages": "prompt"},
        {"advantages": "batch"},
        {"kl_weight": 0.04},
        {"ema_decay": 0.9},
        {"warmup_updates": 3},
        {"decay_updates": 3},
        {"window_start": 0.2, "window_stop": 0.8},
        {"window_stop": 0.5, "fresh_noise": "window", "shared_start": "on", "learn_from": 0.5},
        {"old_log_probs": "recompute"},
        {"guidance_scale": 1.0},
    ],
    ids=lambda changes: next(iter(changes)) + " " + str(next(iter(changes.values()))),
)
def test_every_setting_runs(changes: dict[str, Any], small_sdxl: DiffusionModel) -> None:
    run = trained(small_sdxl, **changes)
    last = run.reports[-1]
    assert last.updates > 0
    assert all(math.isfinite(v) for v in (last.loss, last.kl, last.ratio, last.grad_norm))
    if "kl_weight" in changes:
        assert last.kl > 0
    if "warmup_updates" in changes:
        assert run.reports[0].learning_rate == pytest.approx(1e-2 * 2 / 4)
    if "old_log_probs" in changes:
        assert run.reports[0].first_ratio_error == 0.0  # the very same batches
    if "ema_decay" in changes:
        plain = run.learner.adapter.layers()
        averaged = run.model.loras[0].targets
        assert any(not torch.equal(plain[k].up, averaged[k].up) for k in plain)


def test_the_learning_rate_rises_then_falls_to_a_tenth(small_sdxl: DiffusionModel) -> None:
    learner = Learner(small_sdxl, quick(learning_rate=1.0, warmup_updates=1, decay_updates=3))
    rates = []
    for learner.updates in range(7):
        rates.append(learner.learning_rate)
    assert rates == pytest.approx([0.5, 1.0, 0.7, 0.4, 0.1, 0.1, 0.1])


def test_the_distance_from_the_base_starts_at_nothing_and_is_held(small_sdxl: DiffusionModel) -> None:
    """The first update's KL is 0, the adapter being 0; a heavy weight keeps it smaller than a light one."""
    first = trained(small_sdxl, epochs=1, updates_per_epoch=1, kl_weight=0.01)
    assert first.reports[0].kl == pytest.approx(0.0, abs=1e-10)
    light, heavy = (trained(small_sdxl, epochs=4, kl_weight=w).reports[-1].kl for w in (1e-6, 100.0))
    assert heavy < light


def test_a_tuned_model_can_be_tuned_on(small_ddpm: DiffusionModel) -> None:
    first = trained(small_ddpm).model
    second = trained(first)
    assert len(second.model.loras) == 2
    assert second.reports[0].first_ratio_error <= 1e-6


# --- rewards ------------------------------------------------------------------------------------


def test_several_rewards_are_normalised_before_they_are_weighed(small_sdxl: DiffusionModel) -> None:
    """redness is a hundred times as large; with equal weights a run with it at 1/100 of the scale is the same."""

    def small_redness(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return images[..., 0].mean(dim=(1, 2))

    large = trained(small_sdxl, [(brightness, 1.0), (redness, 0.5)], epochs=1)
    small = trained(small_sdxl, [(brightness, 1.0), (small_redness, 0.5)], epochs=1)
    assert set(large.reports[0].rewards) == {"brightness", "redness"}
    assert large.reports[0].loss == pytest.approx(small.reports[0].loss, abs=1e-6)
    assert large.reports[0].reward > 10 * small.reports[0].reward


def test_a_group_that_shares_a_start_is_compared_with_itself(small_ddpm: DiffusionModel) -> None:
    """Scores that the start alone decides are equal in a group: nothing to learn from, whatever other groups have."""

    def start_decides(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([0.0] * 4 + [1.0] * 4, dtype=torch.float64)

    changes = {"epochs": 1, "samples_per_epoch": 8, "group_size": 4}
    [report] = trained(small_ddpm, reward=start_decides, shared_start="on", **changes).reports
    assert (report.pairs, report.reward_std) == (0, 0.5)
    [report] = trained(small_ddpm, reward=start_decides, **changes).reports
    assert report.pairs > 0
    with pytest.raises(InputError, match="shared_start"):
        quick(shared_start="on", advantages="batch")


def test_a_combined_reward_trains_on_its_first_column(small_sdxl: DiffusionModel) -> None:
    class Both:
        name = "both"

        def __call__(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
            return self.columns(images, prompts)["both"]

        def columns(self, images: torch.Tensor, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
            return {"both": brightness(images, prompts), "redness": redness(images, prompts)}

    run = trained(small_sdxl, Both())
    assert list(run.reports[0].rewards) == ["both", "both: redness"]
    assert same(state(run), state(trained(small_sdxl)))


def test_members_of_a_weighed_sum_are_normalised_one_by_one(small_sdxl: DiffusionModel) -> None:
    """`rewards.combine` of brightness at 1 and redness at 0.5 teaches what the two do as (reward, weight) pairs."""
    from tastemaker.rewards.combined import combine
    from tastemaker.rewards.reward import Reward
    from tastemaker.rewards.statistics import Statistics

    parts = [Reward(f.__name__, f, False, "", f.__name__) for f in (brightness, redness)]
    known = {part.name: Statistics(0.0, 1.0, "by hand") for part in parts}
    joined = combine([(parts[0], 1.0), (parts[1], 0.5)], statistics=known)
    one = trained(small_sdxl, joined, epochs=1)
    two = trained(small_sdxl, [(brightness, 1.0), (redness, 0.5)], epochs=1)
    assert same(state(one), state(two))
    assert list(one.reports[0].rewards) == ["combined", "combined: brightness", "combined: redness"]


def test_scores_that_are_all_the_same_teach_nothing_and_say_so(small_sdxl: DiffusionModel) -> None:
    def flat(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return torch.full((len(images),), 0.1)

    run = trained(small_sdxl, flat)
    assert all("nothing to learn" in report.note for report in run.reports)
    assert [(r.updates, r.pairs, r.dropped) for r in run.reports] == [(0, 0, 16)] * 2
    assert all((up == 0).all() for up in run.learner.adapter.up.values())


@pytest.mark.parametrize(
    ("scores", "error", "words"),
    [
        (lambda n: torch.tensor([1.0] * (n - 1) + [math.nan]), NonFiniteError, "odd scored picture 8 of 8 as nan"),
        (lambda n: torch.ones(n - 1), InputError, "odd must give one score for each of the 8 pictures"),
        (lambda n: torch.ones(n, 1), InputError, "odd must give one score"),
    ],
)
def test_bad_scores_stop_before_they_are_learned_from(
    scores: Any, error: type[Exception], words: str, small_sdxl: DiffusionModel
) -> None:
    def odd(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return scores(len(images))

    run = finetune(small_sdxl, odd, PROMPTS, quick())
    with pytest.raises(error, match=words):
        next(run)
    assert all((up == 0).all() for up in run.learner.adapter.up.values())
    assert list(run) == []


def test_a_reward_that_raises_is_heard(small_sdxl: DiffusionModel) -> None:
    def broken(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        raise OSError("no such server")

    with pytest.raises(OSError, match="no such server"):
        next(finetune(small_sdxl, broken, PROMPTS, quick()))


def test_rewards_get_images_in_0_1_that_are_theirs(small_sdxl: DiffusionModel) -> None:
    """Trap 11, and a reward that writes into its input changes nothing for the others."""
    seen = []

    def rude(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        seen.append((images.dtype, tuple(images.shape), float(images.min()), float(images.max()), tuple(prompts)))
        scores = brightness(images, prompts)
        images.zero_()
        return scores

    run = trained(small_sdxl, [(rude, 1.0), (brightness, 1.0)], epochs=1)
    dtype, shape, low, high, prompts = seen[0]
    assert (dtype, shape) == (torch.float32, (8, 32, 32, 3))
    assert 0 <= low < high <= 1
    assert len(prompts) == 8
    assert set(prompts) <= set(PROMPTS)
    assert run.reports[0].rewards["brightness"] == pytest.approx(run.reports[0].rewards["rude"])


@pytest.mark.parametrize("reward", ["aesthetic", None, [], [(brightness, math.nan)], [(brightness, 0)], [(3, 1.0)]])
def test_what_is_no_reward_is_refused(reward: Any, small_sdxl: DiffusionModel) -> None:
    with pytest.raises(InputError, match="reward"):
        finetune(small_sdxl, reward, PROMPTS, quick())


# --- prompts and settings -----------------------------------------------------------------------


@pytest.mark.parametrize("prompts", ["", [], ["  "], ["a star", ""], ["a\ud800"], [3]])
def test_prompts_that_cannot_be_trained_on_are_refused(prompts: Any, small_sdxl: DiffusionModel) -> None:
    with pytest.raises(InputError, match="prompts"):
        finetune(small_sdxl, brightness, prompts, quick())


def test_an_unconditional_model_takes_no_prompts(small_ddpm: DiffusionModel) -> None:
    with pytest.raises(InputError, match="unconditional"):
        finetune(small_ddpm, brightness, "a church", quick())


def test_prompts_are_used_equally_often(small_sdxl: DiffusionModel) -> None:
    seen: list[str] = []

    def count(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        seen.extend(prompts)
        return brightness(images, prompts)

    trained(small_sdxl, count, epochs=4)  # 2 groups an epoch, 4 prompts: each twice
    assert {p: seen.count(p) for p in PROMPTS} == dict.fromkeys(PROMPTS, 8)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"epochs": True},
        {"steps": 1},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"learning_rate": "1e-4"},
        {"clip_range": 0.0},
        {"rank": 4.0},
        {"samples_per_epoch": 7},
        {"samples_per_epoch": 2**63},
        {"group_size": 1},
        {"eta": -1},
        {"algorithm": "ppo"},
        {"targets": None},
        {"train": []},
        {"window_start": 0.5, "window_stop": 0.5},
        {"patience": 2},
        {"min_history": 33},
        {"updates_per_epoch": 2, "algorithm": "score"},
        {"seed": -1},
        {"scheduler": "magic"},
    ],
)
def test_settings_outside_their_limits_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        quick(**changes)
    assert caught.value.name in {**changes, "samples_per_epoch": 0}


def test_a_window_without_noise_is_refused(small_ddpm: DiffusionModel) -> None:
    with pytest.raises(InputError, match="No step with noise lies between"):
        finetune(small_ddpm, brightness, "", quick(scheduler="ddpm", window_start=0.75))


def test_sizes_the_model_cannot_make_are_refused(small_sdxl: DiffusionModel) -> None:
    with pytest.raises(InputError, match="height"):
        finetune(small_sdxl, brightness, PROMPTS, quick(height=36))


def test_presets_are_whole_configs() -> None:
    from tastemaker.training import PRESETS

    assert set(PRESETS) == {"8 GB", "12 GB", "24 GB", "80 GB", "CPU"}
    for name in PRESETS:
        assert isinstance(preset(name), FineTuneConfig)
        assert preset(name).guarded
        assert preset(name).evaluate_every == (1 if name == "CPU" else 2)
        assert preset(name, algorithm="reward_gradient").evaluate_every == 2
    assert not preset("CPU", guard="off").guarded
    assert not preset("CPU", evaluate_every=0).guarded  # without comparisons there is nothing to look at
    assert not FineTuneConfig(evaluate_every=5).guarded
    assert preset("8 GB", rank=4).rank == 4
    assert preset("CPU", scheduler="ddpm").fresh_noise == "everywhere"  # only ddim can
    assert preset("CPU", advantages="batch").shared_start == "off"
    with pytest.raises(InputError, match="preset"):
        preset("1 TB")
    with pytest.raises(InputError, match="no such setting"):
        preset("CPU", lr=1)


def test_every_setting_has_a_tip_and_limits() -> None:
    from dataclasses import fields

    for f in fields(FineTuneConfig):
        assert f.metadata["tip"].endswith(".")
        assert "options" in f.metadata or {"low", "high"} <= set(f.metadata)


# --- precision -----------------------------------------------------------------------------------


def test_a_rollout_and_learning_that_disagree_are_an_error(small_sdxl: DiffusionModel, monkeypatch: Any) -> None:
    """Trap 7: the first ratio must be 1."""
    from tastemaker.training.algorithms import ddpo

    true = ddpo.at_pairs

    def shifted(*args: Any) -> Any:
        x, after = true(*args)
        return x, after + 0.01

    monkeypatch.setattr(ddpo, "at_pairs", shifted)
    with pytest.raises(TastemakerError, match="old_log_probs: sampling and learning disagree by"):
        next(finetune(small_sdxl, brightness, PROMPTS, quick(clip_range=1e-5)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_starts_at_a_ratio_of_1(dtype: torch.dtype, small_ddpm: DiffusionModel) -> None:
    """The remedy: old probabilities computed once more in the learning batches. Exactly 1 on a CPU."""
    import copy

    half = replace(small_ddpm, modules={"unet": copy.deepcopy(small_ddpm.unet).to(dtype)})
    run = trained(half)
    assert run.reports[0].first_ratio_error == 0.0
    assert run.reports[0].grad_norm > 0
    ups = run.learner.adapter.up.values()
    assert all(up.dtype == torch.float32 for up in ups)
    full = trained(small_ddpm, epochs=1).reports[0].grad_norm
    assert run.reports[0].grad_norm == pytest.approx(full, rel=0.5)
