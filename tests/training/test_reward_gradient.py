"""Reward gradients: the mathematics by hand and by finite differences, and a run with everything the others have."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.core.errors import OutOfMemoryError
from tastemaker.core.progress import Progress
from tastemaker.loaders import DiffusionModel, InputError
from tastemaker.rewards import load_reward
from tastemaker.rewards.combined import combine
from tastemaker.rewards.reward import Reward
from tastemaker.rewards.statistics import Statistics
from tastemaker.sampling import sample
from tastemaker.sampling.decode import decode, decode_with_gradient
from tastemaker.sampling.steps import Coefficients, predict_x0
from tastemaker.training import FineTuneConfig, finetune
from tastemaker.training.algorithms.reward_gradient import RewardGradient, Usual
from tastemaker.training.epoch import plan_epoch
from tastemaker.training.forward_process import draw_timesteps, noised, realigned
from tastemaker.training.learner import memory
from tastemaker.training.processes import SingleProcess
from tastemaker.training.rollout import Request
from tastemaker.training.scoring import Scorer, check_terms
from tastemaker.training.worker import Worker

from .conftest import DDPM, PROMPTS, Half, Recorder, Said, brightness, quick, same, state, trained, weights

GRADIENT: dict[str, Any] = {"algorithm": "reward_gradient", "scheduler": "ddim"}
FORMS = ("draft_1", "draft_lv", "direct_align")


def soft(name: str = "soft", weight: float = 1.0) -> Reward:
    """The mean of the red channel, with gradients."""

    def score(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return weight * images[..., 0].mean(dim=(1, 2))

    return Reward(name, score, False, "", name, gradient_score=score, statistics=Statistics(0.0, 1.0, "made up"))


def algorithm_of(
    model: DiffusionModel, reward: Any = None, processes: SingleProcess | None = None, **changes: Any
) -> RewardGradient:
    config = quick(**{**GRADIENT, **changes})
    worker = Worker(model, config, processes=processes, schedule=RewardGradient.schedule(model, config))
    return RewardGradient(worker, Scorer(check_terms(reward or soft()), config, worker.processes))


# --- mathematics --------------------------------------------------------------------------------


def test_a_picture_is_recovered_exactly_where_the_network_sees_the_noise() -> None:
    x0, noise = torch.randn(3, 2, 4, 4, dtype=torch.float64), torch.randn(3, 2, 4, 4, dtype=torch.float64)
    alphas, later = torch.tensor([0.1, 0.5, 0.9]).double(), torch.tensor([0.3, 0.8, 1.0]).double()
    torch.testing.assert_close(realigned(x0, noise, noise, alphas, later), x0, rtol=0, atol=0)


def test_realigning_is_a_ddim_step_and_the_way_back_by_hand() -> None:
    a, b = torch.tensor([0.25]).double(), torch.tensor([0.64]).double()
    x0, noise, e = (torch.randn(1, 1, 2, 2, dtype=torch.float64) for _ in range(3))
    x_t, _ = noised(x0, noise, a, "epsilon")
    predicted = (x_t - 0.75**0.5 * e) / 0.5
    x_later = 0.8 * predicted + 0.6 * e
    torch.testing.assert_close(realigned(x0, noise, e, a, b), (x_later - 0.6 * noise) / 0.8)


def test_decoding_with_gradients_is_decoding(tiny_sdxl: DiffusionModel) -> None:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = decode_with_gradient(tiny_sdxl, latents.requires_grad_())
    torch.testing.assert_close(found.detach(), decode(tiny_sdxl, latents.detach()), rtol=0, atol=1e-6)
    found.sum().backward()
    assert latents.grad is not None
    assert latents.grad.abs().max() > 0
    assert not tiny_sdxl.vae.decoder.gradient_checkpointing


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_gradient_is_that_of_finite_differences(
    form: str, prediction_type: str, small_ddpm: DiffusionModel
) -> None:
    """The loss of an update, along a random direction of all weights, in float64."""
    model = replace(
        small_ddpm,
        modules={"unet": copy.deepcopy(small_ddpm.unet)},
        scheduler_config={**DDPM, "prediction_type": prediction_type},
    )
    algorithm = algorithm_of(model, gradient_form=form, train="full", updates_per_epoch=1)
    worker = algorithm.worker
    unet = worker.learner.policy.unet
    epoch = plan_epoch(worker.config, 0, [""], False, slice(0, worker.config.samples_per_epoch))
    experience = algorithm.collect(epoch, Progress())
    draws = draw_timesteps(len(epoch.prompts), 1000, worker.config, 0)
    [pairs] = draws.updates
    batch = algorithm._batch(pairs, draws.timesteps, epoch, experience)
    with worker.learning():
        algorithm.update([batch], experience.usual, len(pairs.step), Progress())
    made = [p.grad.clone() for p in unet.parameters()]
    worker.learner.optimizer.zero_grad()
    unet.double()
    batch = batch._replace(x0=batch.x0.double(), noise=batch.noise.double(), x_t=batch.x_t.double())
    total = len(pairs.step)

    def loss() -> float:
        with torch.no_grad():
            clean, e = _answer(algorithm, unet, batch)
            x0 = algorithm._realigned(batch, e) if form == "direct_align" else clean
            return -float((x0[:, 0] / 2 + 0.5).clamp(0, 1).mean(dim=(1, 2)).sum()) / total / experience.usual[0].spread

    with worker.learning():
        clean, e = _answer(algorithm, unet, batch)
        x0 = algorithm._realigned(batch, e) if form == "direct_align" else clean
        (-(x0[:, 0] / 2 + 0.5).clamp(0, 1).mean(dim=(1, 2)).sum() / total / experience.usual[0].spread).backward()
    largest = max(float(p.grad.abs().max()) for p in unet.parameters())
    for gradient, p in zip(made, unet.parameters(), strict=True):
        torch.testing.assert_close(gradient.double(), p.grad, rtol=1e-3, atol=1e-4 * largest)
    rng = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in unet.parameters()]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(unet.parameters(), directions, strict=True))
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(unet.parameters(), directions, strict=True):
                p.add_(d, alpha=sign * 1e-6)
            ends.append(loss())
            for p, d in zip(unet.parameters(), directions, strict=True):
                p.sub_(d, alpha=sign * 1e-6)
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-3)
    assert abs(slope) > 1e-6


def _answer(algorithm: RewardGradient, unet: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The same answer in float64, where `Network` is float32."""
    levels = algorithm.levels
    output = unet(batch.x_t, batch.timesteps).sample
    alphas = levels.alphas.double()[batch.timesteps].view(-1, 1, 1, 1)
    return predict_x0(batch.x_t, output, Coefficients(alphas, alphas, levels.prediction_type))


def test_what_is_learned_from_is_what_the_network_was_given_last(small_ddpm: DiffusionModel) -> None:
    """draft_1 at the untrained weights leads to the very pictures that ddim without fresh noise sampled."""
    algorithm = algorithm_of(small_ddpm, gradient_form="draft_1", eta=0.0, steps=4)
    worker, before = algorithm.worker, torch.empty(2, 3, 8, 8)
    latents = worker.sample_latents(Request(["", ""], [1, 2]), Progress(), before_last=before)
    plain = sample(small_ddpm, "", scheduler="ddim", steps=4, seeds=[1, 2]).latents
    torch.testing.assert_close(latents, plain)
    t = round(worker.schedule.timesteps[-1])
    with torch.no_grad():
        output = small_ddpm.unet(before, torch.tensor([t, t])).sample
    alpha = algorithm.levels.alphas[t]
    clean, _ = predict_x0(before, output, Coefficients(alpha, alpha))
    torch.testing.assert_close(clean.clamp(-1, 1), latents, atol=2e-2, rtol=0)


# --- a run --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_every_form_raises_the_reward(form: str, small_ddpm: DiffusionModel) -> None:
    run = trained(
        small_ddpm, soft(), **GRADIENT, gradient_form=form, epochs=6, learning_rate=3e-3, eta=0.0, sample_every=0
    )
    first, last = run.reports[0], run.reports[-1]
    assert last.reward > first.reward
    assert first.grad_norm > 0


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_sdxl_learns_through_vae_and_guidance(prediction_type: str, small_sdxl: DiffusionModel) -> None:
    scheduler = {**small_sdxl.scheduler_config, "prediction_type": prediction_type}
    small_sdxl = replace(small_sdxl, scheduler_config=scheduler)
    before = weights(small_sdxl)
    rows: list[int] = []
    handle = small_sdxl.unet.register_forward_pre_hook(lambda m, args: rows.append(len(args[0])))
    try:
        run = trained(small_sdxl, soft(), **GRADIENT, epochs=1, updates_per_epoch=1, steps=2, timesteps_per_picture=1)
    finally:
        handle.remove()
    assert rows == [16, 16, 8, 8]  # 8 pictures in two rows for two steps, then two batches of four, guided too
    assert run.reports[0].grad_norm > 0
    assert same(before, weights(small_sdxl))


def test_the_embedded_reward_has_a_gradient_that_climbs_it(tiny_sdxl: DiffusionModel) -> None:
    reward = load_reward("tiny-imagereward")
    images = sample(tiny_sdxl, PROMPTS[0], steps=4, seeds=[1, 2]).images.requires_grad_()
    scores = reward.with_gradient(images, PROMPTS[0])
    scores.sum().backward()
    step = 0.02 * images.grad / images.grad.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert (reward.with_gradient((images + step).detach().clamp(0, 1), PROMPTS[0]) > scores).all()


def test_two_rewards_count_by_weight_and_spread(small_ddpm: DiffusionModel) -> None:
    algorithm = algorithm_of(small_ddpm, [(soft("a"), 2.0), (soft("b", 3.0), 0.5)])
    pictures = torch.rand(2, 4, 4, 3)
    found = algorithm._reward(pictures, ["", ""], (Usual(0.1, 0.5), Usual(0.0, 2.0)))
    red = pictures[..., 0].mean(dim=(1, 2))
    torch.testing.assert_close(found, 2.0 / 0.5 * (red - 0.1) + 0.5 / 2.0 * 3 * red)


def test_a_heavy_reference_holds_the_model_back(small_ddpm: DiffusionModel) -> None:
    def distance(weight: float) -> float:
        return trained(small_ddpm, soft(), **GRADIENT, epochs=6, reference_weight=weight).reports[-1].distance

    assert 0 < distance(50.0) < 0.5 * distance(1e-6)


def test_a_stopped_run_goes_on_to_the_same_bits(small_ddpm: DiffusionModel, tmp_path: Path) -> None:
    whole = trained(small_ddpm, soft(), **GRADIENT, epochs=4)
    config = quick(**GRADIENT, epochs=2)
    list(finetune(small_ddpm, soft(), "", config, run_folder=tmp_path))
    rest = finetune(small_ddpm, soft(), "", replace(config, epochs=4), run_folder=tmp_path)
    list(rest)
    assert same(state(whole), state(rest))


def test_the_size_of_a_micro_batch_changes_rounding_only(small_ddpm: DiffusionModel) -> None:
    one, other = (trained(small_ddpm, soft(), **GRADIENT, epochs=1, train_batch_size=n) for n in (1, 16))
    for a, b in zip(state(one).values(), state(other).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


class Cancelled(BaseException):
    pass


@pytest.mark.parametrize("phase", ["sampling", "learning"])
def test_a_cancel_takes_it_back_to_the_last_whole_epoch(phase: str, small_ddpm: DiffusionModel) -> None:
    def cancel(said: Said) -> None:
        if (said.epoch, said.phase) == (2, phase) and said.done >= 4:
            raise Cancelled

    run = finetune(small_ddpm, soft(), "", quick(**GRADIENT, epochs=3), progress=Recorder(cancel))
    with pytest.raises(Cancelled):
        list(run)
    assert run.epoch == 1
    assert same(state(run), state(trained(small_ddpm, soft(), **GRADIENT, epochs=1)))


def test_two_processes_are_one_with_the_same_pictures(small_ddpm: DiffusionModel) -> None:
    """Gradients of the halves add up to the whole's."""

    def gradient(rows: slice, processes: SingleProcess) -> dict[str, torch.Tensor]:
        algorithm = algorithm_of(small_ddpm, processes=processes, updates_per_epoch=1, train="full")
        worker, found = algorithm.worker, dict[str, torch.Tensor]()
        epoch = plan_epoch(worker.config, 0, [""], False, rows)

        def step() -> list[float]:
            found.update({n: p.grad.clone() for n, p in worker.learner.named_parameters().items()})
            return [0.0]

        worker.step = step  # type: ignore[method-assign]
        experience = algorithm.collect(epoch, Progress())
        algorithm.learn(epoch, experience, Progress())
        found["scores"] = experience.scored.columns["soft"]
        return found

    whole = gradient(slice(0, 8), SingleProcess())
    halves = [gradient(slice(4 * r, 4 * r + 4), Half(r, whole["scores"])) for r in (0, 1)]
    for name in whole.keys() - {"scores"}:
        torch.testing.assert_close(halves[0][name] + halves[1][name], whole[name], rtol=1e-3, atol=1e-6)


# --- refusals -----------------------------------------------------------------------------------


def test_a_reward_without_gradients_is_refused_before_anything_runs(small_ddpm: DiffusionModel) -> None:
    for reward in (load_reward("jpeg-compressibility"), brightness, [(soft(), 1.0), (brightness, 1.0)]):
        with pytest.raises(InputError, match=r"^reward: It has no gradients"):
            finetune(small_ddpm, reward, "", quick(**GRADIENT))


def test_a_combined_reward_has_gradients_where_all_of_its_members_do(small_ddpm: DiffusionModel) -> None:
    joined = combine([(soft("a"), 1.0), (soft("b"), 1.0)])
    assert trained(small_ddpm, joined, **GRADIENT, epochs=1).reports[0].grad_norm > 0
    ranks = combine([(soft("a"), 1.0), (soft("b"), 1.0)], mode="ranks")
    with pytest.raises(InputError, match="mode standardised"):
        finetune(small_ddpm, ranks, "", quick(**GRADIENT))


def test_kl_weight_and_distilled_models_are_refused(small_ddpm: DiffusionModel) -> None:
    with pytest.raises(InputError, match="Set reference_weight instead"):
        FineTuneConfig(algorithm="reward_gradient", kl_weight=0.1)
    turbo = replace(small_ddpm, name="sdxl-turbo")
    with pytest.raises(InputError, match="distilled"):
        finetune(turbo, soft(), "", quick(**GRADIENT))


def test_what_does_not_fit_is_said_beforehand(small_sdxl: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = algorithm_of(small_sdxl)
    without = Worker(small_sdxl, algorithm.worker.config).learning_bytes
    needed = algorithm.worker.learning_bytes
    assert needed - without > 4 * 32 * 32 * 3 * 4  # at least the pictures of a batch
    monkeypatch.setattr(memory, "free_bytes", lambda device: needed - 1)
    with pytest.raises(OutOfMemoryError, match="train_batch_size"):
        algorithm_of(small_sdxl)
