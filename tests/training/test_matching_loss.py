"""The matching loss against the published losses it stands for, written out here as their papers do, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMScheduler

from tastemaker.sampling.steps import Coefficients, predict_x0
from tastemaker.training.advantages import saturated
from tastemaker.training.algorithms.losses import matching_loss, matching_terms
from tastemaker.training.forward_process import draw_noise, draw_timesteps, noised

from .conftest import quick

Loss = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture
def outputs() -> dict[str, torch.Tensor]:
    """e, e_old, e_ref and target of 5 pairs."""
    draw = torch.Generator().manual_seed(0)
    names = ("e", "e_old", "e_ref", "target")
    return {name: torch.randn(5, 3, 4, 2, generator=draw, dtype=torch.float64) for name in names}


ADVANTAGES = torch.tensor([1.0, -1.0, 0.3, -0.7, 0.0], dtype=torch.float64)


def gradient(loss: Loss, e: torch.Tensor) -> torch.Tensor:
    e = e.clone().requires_grad_()
    loss(e).sum().backward()
    return e.grad


def square(x: torch.Tensor) -> torch.Tensor:
    return x.pow(2).mean(dim=(1, 2, 3))


def ours(form: str, proximal: float, outputs: dict[str, torch.Tensor], beta: float = 0.0) -> Loss:
    terms = matching_terms(form, ADVANTAGES, proximal)
    rest = {k: v for k, v in outputs.items() if k != "e"}
    return lambda e: matching_loss(e, **rest, **terms._asdict(), beta=beta)


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    assert other.abs().max() > 1e-3
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("b", [1.0, 0.1, 2.5])
def test_nft_is_its_two_sided_form(b: float, outputs: dict[str, torch.Tensor]) -> None:
    """DiffusionNFT: r |e+ - y|^2 + (1 - r) |e- - y|^2 + beta |e - e_ref|^2, e+- on both sides of e_old."""
    e_old, y, r = outputs["e_old"], outputs["target"], (ADVANTAGES + 1) / 2

    def published(e: torch.Tensor) -> torch.Tensor:
        positive, negative = (1 - b) * e_old + b * e, (1 + b) * e_old - b * e
        return r * square(positive - y) + (1 - r) * square(negative - y) + 0.3 * square(e - outputs["e_ref"])

    close(gradient(ours("nft", b, outputs, beta=0.3), outputs["e"]), gradient(published, outputs["e"]))


@pytest.mark.parametrize("proximal", [0.0, 1.0, 0.4])
def test_awm_is_advantage_weighted_matching_with_a_proximal_term(
    proximal: float, outputs: dict[str, torch.Tensor]
) -> None:
    def published(e: torch.Tensor) -> torch.Tensor:
        return ADVANTAGES * square(e - outputs["target"]) + proximal * square(e - outputs["e_old"])

    close(gradient(ours("awm", proximal, outputs), outputs["e"]), gradient(published, outputs["e"]))


def test_regression_is_weighted_regression(outputs: dict[str, torch.Tensor]) -> None:
    def published(e: torch.Tensor) -> torch.Tensor:
        return ADVANTAGES.clamp(min=0) * square(e - outputs["target"])

    found = gradient(ours("regression", 1.0, outputs), outputs["e"])
    close(found, gradient(published, outputs["e"]))
    assert not found[1].any()  # what pleased less has no part in it


def test_the_first_step_is_that_of_group_dpo(outputs: dict[str, torch.Tensor]) -> None:
    """Diffusion-DPO at e = e_ref, of a winner and a loser: -log sigmoid(-b [d_w - d_l]) is A = +-b/2."""
    b, e_old, y = 3.0, outputs["e_old"][:2], outputs["target"][:2]

    def published(e: torch.Tensor) -> torch.Tensor:
        worse = square(e - y) - square(e_old - y)
        return -torch.nn.functional.logsigmoid(-b * (worse[0] - worse[1]))

    def found(e: torch.Tensor) -> torch.Tensor:
        return matching_loss(e, e_old, None, y, torch.tensor([b / 2, -b / 2], dtype=torch.float64))

    close(gradient(found, e_old), gradient(published, e_old))


def test_it_starts_at_zero_and_pulls_by_hand() -> None:
    # e = e_old = 2, target 5, A = 1: loss 0, slope 2 (2 - 5) = -6; at e = 3 with lambda 1: -6 + 1 = -5
    two, five, three = (torch.full((1, 1, 1, 1), v, dtype=torch.float64) for v in (2.0, 5.0, 3.0))
    one = torch.ones(1, dtype=torch.float64)
    assert matching_loss(two, two, None, five, one).tolist() == [0.0]
    assert gradient(lambda e: matching_loss(e, two, None, five, one), two).flatten().tolist() == [-6.0]
    assert matching_loss(three, two, None, five, one).tolist() == [-5.0]
    assert matching_loss(three, two, five, five, one, weight=2.0, beta=0.5).tolist() == [-10.0 + 0.5 * 4]


def test_no_gradient_reaches_what_it_is_compared_with(outputs: dict[str, torch.Tensor]) -> None:
    e, e_old, e_ref = (outputs[k].clone().requires_grad_() for k in ("e", "e_old", "e_ref"))
    matching_loss(e, e_old, e_ref, outputs["target"], ADVANTAGES, beta=1.0).sum().backward()
    assert e.grad.abs().sum() > 0
    assert (e_old.grad, e_ref.grad) == (None, None)


def test_an_unknown_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="'dpo' is no form"):
        matching_terms("dpo", ADVANTAGES, 1.0)


# --- noise, targets, timesteps ------------------------------------------------------------------


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_network_that_hits_its_target_knows_picture_and_noise(prediction_type: str) -> None:
    """The sampler's own way back from an output gives what was noised."""
    x0, noise = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    a = torch.tensor([0.9, 0.2], dtype=torch.float64)
    x_t, target = noised(x0, noise, a, prediction_type)
    for i in range(2):
        found = predict_x0(x_t[i : i + 1], target[i : i + 1], Coefficients(a[i], a[i], prediction_type))
        torch.testing.assert_close(torch.cat(found), torch.stack([x0[i], noise[i]]))
    with pytest.raises(ValueError, match="flow"):
        noised(x0, noise, a, "flow")


def test_noising_is_diffusers() -> None:
    reference = DDPMScheduler()
    x0, noise, t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.tensor([10, 900])
    x_t, v = noised(x0, noise, reference.alphas_cumprod[t], "v_prediction")
    torch.testing.assert_close(x_t, reference.add_noise(x0, noise, t))
    torch.testing.assert_close(v, reference.get_velocity(x0, noise, t))


def test_advantages_are_saturated() -> None:
    assert saturated(torch.tensor([3.0, 0.75, -1.5, -9.0, 0.0]), 1.5).tolist() == [1.0, 0.5, -1.0, -1.0, 0.0]


def test_timesteps_are_stratified_and_a_groups_own() -> None:
    config = quick(algorithm="matching", samples_per_epoch=24, group_size=4, timesteps_per_picture=5)
    draws = draw_timesteps(24, 1000, config, 3)
    assert draws.timesteps.shape == (24, 5)
    # fifth k of 1000 timesteps, noisiest first: 999 - 200 k down to 800 - 200 k
    for k in range(5):
        column = draws.timesteps[:, k]
        assert 800 - 200 * k <= column.min() <= column.max() <= 999 - 200 * k
        assert all(len(set(rows.tolist())) == 1 for rows in column.split(4))
    assert len(set(draws.timesteps[::4].flatten().tolist())) > 20  # groups differ
    # every pair once, whole groups at a timestep in one update
    seen = [(int(p), int(s)) for pairs in draws.updates for p, s in zip(*pairs, strict=True)]
    assert sorted(seen) == [(p, s) for p in range(24) for s in range(5)]
    for pairs in draws.updates:
        units = list(zip((pairs.picture // 4).tolist(), pairs.step.tolist(), strict=True))
        assert all(units.count(unit) == 4 for unit in units)
    again, other = draw_timesteps(24, 1000, config, 3), draw_timesteps(24, 1000, config, 4)
    assert torch.equal(again.timesteps, draws.timesteps)
    assert not torch.equal(other.timesteps, draws.timesteps)


def test_timesteps_lie_in_the_window_and_every_one_is_drawn() -> None:
    config = quick(algorithm="matching", samples_per_epoch=2000, group_size=1, advantages="batch", window_stop=0.5)
    found = draw_timesteps(2000, 10, config, 0).timesteps
    assert set(found.flatten().tolist()) == {5, 6, 7, 8, 9}
    everywhere = draw_timesteps(2000, 10, quick(samples_per_epoch=2000, group_size=1, advantages="batch"), 0).timesteps
    counts = torch.bincount(everywhere.flatten(), minlength=10)
    # 4,000 draws, 400 each: standard deviation below 19
    assert (counts - 400).abs().max() < 5 * 19


def test_noise_is_shared_in_a_group_at_a_timestep_only() -> None:
    config = quick(algorithm="matching")
    pairs = draw_timesteps(8, 1000, config, 0).updates[0]
    noise = draw_noise(pairs, (3, 4, 4), config, 0, torch.device("cpu"))
    keys = list(zip((pairs.picture // 4).tolist(), pairs.step.tolist(), strict=True))
    for i, one in enumerate(keys):
        for j, other in enumerate(keys):
            assert torch.equal(noise[i], noise[j]) == (one == other)
    assert len(set(keys)) > 1
