"""Rollouts: the pictures that sampling makes, with probabilities that learning agrees with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tastemaker.core.progress import Progress
from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.sampling import sample
from tastemaker.sampling.schedules import DDPM
from tastemaker.training.algorithms.policy import transition
from tastemaker.training.rollout import Request, training_schedule
from tastemaker.training.trajectory import (
    Pairs,
    Trajectory,
    at_pairs,
    choose_pairs,
    learnable_steps,
    micro_batches,
)
from tastemaker.training.worker import Worker

from .conftest import PROMPTS, quick

SCHEDULERS = ("ddim", "ddpm", "euler_ancestral")


def rolled(model: DiffusionModel, seeds: list[int], **changes: Any) -> tuple[Worker, Trajectory, torch.Tensor]:
    starts = changes.pop("starts", None)
    worker = Worker(model, quick(**changes))
    prompts = [PROMPTS[i % len(PROMPTS)] if model.conditional else "" for i in range(len(seeds))]
    return worker, *worker.sample(Request(prompts, seeds, starts), Progress())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", ["small_sdxl", "small_ddpm"])
def test_a_rollout_is_what_sampling_makes(name: str, scheduler: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    worker, trajectory, images = rolled(model, [3, 4, 5], scheduler=scheduler, steps=5)
    config = worker.config
    pictures = sample(
        model,
        list(trajectory.prompts) if model.conditional else "",
        scheduler=scheduler,
        steps=5,
        guidance_scale=config.guidance_scale if model.conditional else 1.0,
        eta=config.step_eta,
        seeds=[3, 4, 5],
    )
    torch.testing.assert_close(trajectory.latents[:, -1], pictures.latents, atol=0, rtol=0)
    torch.testing.assert_close(images, pictures.images, atol=0, rtol=0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", ["small_sdxl", "small_ddpm"])
def test_learning_finds_the_probabilities_of_the_rollout(
    name: str, scheduler: str, request: pytest.FixtureRequest
) -> None:
    """In other batches, with steps mixed: the first ratio is 1 within 1e-6, CFG and clipped x0 included.

    The mean's rounding counts 1 / std times in a log-probability: below a std of 0.1 the bound grows with it.
    """
    worker, trajectory, _ = rolled(request.getfixturevalue(name), list(range(6)), scheduler=scheduler, steps=6)
    steps = learnable_steps(trajectory.stds, 0.0, 1.0)
    picture = torch.arange(6).repeat_interleave(len(steps))
    pairs = Pairs(picture, torch.tensor(steps * 6))
    bounds = 1e-6 * (0.1 / trajectory.stds).clamp(min=1)
    for batch in micro_batches(pairs, 5):
        network = worker.network(worker.model, [trajectory.prompts[i] for i in batch.picture.tolist()])
        x, after = at_pairs(trajectory, batch, torch.device("cpu"))
        now = transition(network, worker.schedule, x, after, batch.step.tolist())
        ratio = (now.log_prob - trajectory.log_probs[batch.picture, batch.step]).exp()
        assert ((ratio - 1).abs() <= bounds[batch.step]).all()
        for row in range(len(x)):
            normal = torch.distributions.Normal(now.mean[row].double(), now.std[row].double())
            want = normal.log_prob(after[row].double()).mean()
            assert now.log_prob[row].item() == pytest.approx(want.item(), abs=2e-5)


def test_steps_without_noise_are_left_out(small_ddpm: DiffusionModel) -> None:
    """DDPM's last step and euler ancestral's have std 0: no log-probability, never learned from."""
    for scheduler in SCHEDULERS:
        _, trajectory, _ = rolled(small_ddpm, [1, 2], scheduler=scheduler, steps=4)
        silent = (trajectory.stds == 0).nonzero().flatten().tolist()
        assert (trajectory.log_probs[:, silent] == 0).all()
        assert torch.isfinite(trajectory.log_probs).all()
        assert not set(learnable_steps(trajectory.stds, 0, 1)) & set(silent)
        if scheduler != "ddim":
            assert silent == [3]


def test_church_at_ddim_40_has_a_last_step_without_noise(small_ddpm: DiffusionModel) -> None:
    """Trap 1: with set_alpha_to_one and leading spacing the 40th step lands on a level of exactly 1."""
    schedule = training_schedule(small_ddpm, quick(steps=40))
    one = torch.zeros(1, 1, 1, 1)
    stds = torch.tensor([schedule.distribution(t, one, one).std for t in range(40)])
    assert stds[39] == 0
    assert (stds[:39] > 0).all()
    assert learnable_steps(stds, 0, 1) == list(range(39))


def test_trajectories_are_float32_whatever_the_network_runs_in(small_ddpm: DiffusionModel) -> None:
    import copy

    half = replace(small_ddpm, modules={"unet": copy.deepcopy(small_ddpm.unet).to(torch.bfloat16)})
    _, trajectory, _ = rolled(half, [1, 2])
    assert trajectory.latents.dtype == trajectory.log_probs.dtype == torch.float32
    assert not torch.equal(trajectory.latents, trajectory.latents.bfloat16().float())


@pytest.mark.parametrize("scheduler", ["pndm", "euler", "dpmpp_2m", "dpmpp_2m_karras", "unipc", "lcm", "dpmpp_sde"])
def test_schedulers_without_probabilities_are_refused_by_name(scheduler: str) -> None:
    with pytest.raises(InputError, match=rf"scheduler: The steps of {scheduler} .* Pick ddim with eta 1"):
        quick(scheduler=scheduler)


def test_ddim_without_noise_is_refused() -> None:
    with pytest.raises(InputError, match="eta: ddim at eta 0 adds no noise"):
        quick(eta=0.0)


def test_the_models_own_scheduler_trains_only_where_it_can(small_ddpm: DiffusionModel) -> None:
    assert isinstance(training_schedule(small_ddpm, quick(scheduler="model default")), DDPM)
    pndm = replace(
        small_ddpm,
        scheduler_config={
            "_class_name": "PNDMScheduler",
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "beta_schedule": "linear",
            "num_train_timesteps": 1000,
        },
    )
    with pytest.raises(InputError, match="The steps of pndm"):
        training_schedule(pndm, quick(scheduler="model default"))


def test_pictures_can_share_their_first_noise(small_ddpm: DiffusionModel) -> None:
    """The steps after it stay each picture's own, and are those it has with a start of its own."""
    _, own, _ = rolled(small_ddpm, [1, 2, 3], steps=4)
    _, shared, _ = rolled(small_ddpm, [1, 2, 3], steps=4, starts=[2, 2, 9])
    assert shared.latents[0, 0].equal(own.latents[1, 0])
    assert shared.latents[1].equal(own.latents[1])
    assert not shared.latents[2, 0].equal(own.latents[2, 0])
    assert not shared.latents[0, 1].equal(shared.latents[1, 1])


def test_fresh_noise_only_in_the_window(small_ddpm: DiffusionModel) -> None:
    """Outside of it a step is ddim's at eta 0; inside it is the one that is drawn everywhere."""
    changes = {"steps": 6, "window_stop": 0.5}
    worker, part, _ = rolled(small_ddpm, [1, 2], fresh_noise="window", **changes)
    _, whole, _ = rolled(small_ddpm, [1, 2], **changes)
    assert part.stds[3:].tolist() == [0, 0, 0]
    assert part.stds[:3].equal(whole.stds[:3])
    assert part.latents[:, :4].equal(whole.latents[:, :4])
    still = training_schedule(small_ddpm, quick(steps=6)).noisy_within(2.0, 3.0)
    x = part.latents[:, 3]
    output = worker.network(small_ddpm, part.prompts).predict(x, torch.full((2,), still.timesteps[3]))
    torch.testing.assert_close(part.latents[:, 4], still.distribution(3, x, output).mean, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="fresh_noise"):
        quick(scheduler="ddpm", fresh_noise="window")


def test_pairs_are_shuffled_whole_and_the_same_for_the_same_seed() -> None:
    config = quick(timestep_fraction=0.5, updates_per_epoch=3)
    updates = choose_pairs(8, [0, 1, 2, 4], config, epoch=1)
    pairs = [pair for u in updates for pair in zip(u.picture.tolist(), u.step.tolist(), strict=True)]
    assert len(pairs) == len(set(pairs)) == 16  # half of 4 steps for each of 8 pictures
    assert [sum(p == i for p, _ in pairs) for i in range(8)] == [2] * 8
    assert {s for _, s in pairs} == {0, 1, 2, 4}
    assert sorted(len(u.step) for u in updates) == [5, 5, 6]
    again = choose_pairs(8, [0, 1, 2, 4], config, epoch=1)
    assert all(
        torch.equal(a, b) for one, two in zip(updates, again, strict=True) for a, b in zip(one, two, strict=True)
    )
    other = choose_pairs(8, [0, 1, 2, 4], config, epoch=2)
    assert not all(torch.equal(a.step, b.step) for a, b in zip(updates, other, strict=True))


def test_a_window_and_a_fraction_choose_steps() -> None:
    stds = torch.tensor([1.0] * 9 + [0.0])
    assert learnable_steps(stds, 0.2, 0.5) == [2, 3, 4]
    assert learnable_steps(stds, 0.9, 1.0) == []  # the last step has no noise
    [update] = choose_pairs(3, [2, 3, 4], quick(timestep_fraction=0.01, updates_per_epoch=1), 0)
    assert len(update.step) == 3  # never fewer than one step a picture


def test_micro_batches_hold_every_pair_once_with_equal_steps_together() -> None:
    pairs = Pairs(torch.arange(7), torch.tensor([2, 0, 1, 2, 0, 1, 2]))
    batches = micro_batches(pairs, 3)
    assert [len(b.step) for b in batches] == [3, 3, 1]
    assert sorted(i for b in batches for i in b.picture.tolist()) == list(range(7))
    assert all(b.step.tolist() == sorted(b.step.tolist()) for b in batches)
    assert all(pairs.step[b.picture].equal(b.step) for b in batches)
