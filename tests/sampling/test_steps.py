"""The step mathematics against numbers derived by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tastemaker.sampling.steps import (
    Coefficients,
    Sigmas,
    ddim_step,
    ddpm_step,
    euler_ancestral_step,
    log_prob,
    predict_x0,
)


def levels(a_t: float, a_p: float, *rest: object, **named: object) -> Coefficients:
    return Coefficients(torch.tensor(a_t), torch.tensor(a_p), *rest, **named)


def one(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), value)


def test_epsilon_prediction_by_hand() -> None:
    # a_t = 0.36: signal 0.6, noise 0.8; x_t = 0.6 * 0.5 + 0.8 * 0.25 = 0.5
    x0, e = predict_x0(one(0.5), one(0.25), levels(0.36, 0.64))
    assert x0.item() == pytest.approx(0.5)
    assert e.item() == pytest.approx(0.25)


def test_v_prediction_by_hand() -> None:
    # v = signal * e - noise * x0 = 0.6 * 0.25 - 0.8 * 0.5 = -0.25
    x0, e = predict_x0(one(0.5), one(-0.25), levels(0.36, 0.64, "v_prediction"))
    assert x0.item() == pytest.approx(0.5)
    assert e.item() == pytest.approx(0.25)


def test_sample_prediction_by_hand() -> None:
    x0, e = predict_x0(one(0.5), one(0.5), levels(0.36, 0.64, "sample"))
    assert (x0.item(), e.item()) == (pytest.approx(0.5), pytest.approx(0.25))


def test_clipping_touches_x0_and_not_the_noise() -> None:
    # x0 = (2 - 0.8 * 0.25) / 0.6 = 3, clipped to 1; e stays
    x0, e = predict_x0(one(2.0), one(0.25), levels(0.36, 0.64, clip_range=1.0))
    assert (x0.item(), e.item()) == (1.0, 0.25)


def test_ddim_without_noise_by_hand() -> None:
    # a_p = 0.64: mean = 0.8 * 0.5 + 0.6 * 0.25 = 0.55
    mean, std, _ = ddim_step(one(0.5), one(0.25), levels(0.36, 0.64), eta=0.0)
    assert mean.item() == pytest.approx(0.55)
    assert std == 0.0


def test_ddim_with_noise_by_hand() -> None:
    # variance = (0.36 / 0.64) * (1 - 0.36 / 0.64) = 0.5625 * 0.4375 = 0.24609375
    # mean = 0.8 * 0.5 + sqrt(0.36 - 0.24609375) * 0.25
    mean, std, _ = ddim_step(one(0.5), one(0.25), levels(0.36, 0.64), eta=1.0)
    assert std == pytest.approx(math.sqrt(0.24609375))
    assert mean.item() == pytest.approx(0.4 + math.sqrt(0.11390625) * 0.25)


def test_ddpm_by_hand() -> None:
    # alpha = 0.5625, beta = 0.4375
    # mean = 0.8 * 0.4375 / 0.64 * 0.5 + 0.75 * 0.36 / 0.64 * 0.5 = 0.2734375 + 0.2109375
    mean, std, _ = ddpm_step(one(0.5), one(0.25), levels(0.36, 0.64), "fixed_small")
    assert mean.item() == pytest.approx(0.484375)
    assert std == pytest.approx(math.sqrt(0.36 / 0.64 * 0.4375))
    assert ddpm_step(one(0.5), one(0.25), levels(0.36, 0.64), "fixed_large").std == pytest.approx(math.sqrt(0.4375))


def test_ddpm_is_ddim_with_eta_one_when_nothing_is_clipped() -> None:
    x, e = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    c = levels(0.2, 0.3)
    one_way, other = ddpm_step(x, e, c, "fixed_small"), ddim_step(x, e, c, eta=1.0)
    assert one_way.std == pytest.approx(other.std)
    torch.testing.assert_close(one_way.mean, other.mean, atol=1e-6, rtol=1e-5)


def test_the_last_step_lands_on_x0() -> None:
    mean, std, x0 = ddim_step(one(0.5), one(0.25), levels(0.36, 1.0), eta=1.0)
    assert std == 0.0
    assert mean.item() == pytest.approx(x0.item())


def sigmas(sigma_t: float, sigma_p: float, prediction_type: str = "epsilon") -> Sigmas:
    return Sigmas(torch.tensor(sigma_t), torch.tensor(sigma_p), prediction_type)


def test_euler_ancestral_by_hand() -> None:
    # x0 = 3 - 2 * 0.5 = 2; up^2 = 1 (4 - 1) / 4 = 0.75; down^2 = 1 - 0.75 = 0.25
    # mean = 3 + (3 - 2) / 2 * (0.5 - 2) = 2.25
    mean, std, x0 = euler_ancestral_step(one(3.0), one(0.5), sigmas(2.0, 1.0))
    assert x0.item() == pytest.approx(2.0)
    assert std == pytest.approx(math.sqrt(0.75))
    assert mean.item() == pytest.approx(2.25)


def test_euler_ancestral_with_v_prediction_by_hand() -> None:
    # sqrt(sigma^2 + 1) = 1.25: x0 = -0.75 / 1.25 * -0.25 + 1 / 1.5625 = 0.15 + 0.64 = 0.79
    # up^2 = 0.36 (0.5625 - 0.36) / 0.5625 = 0.1296; down^2 = 0.36 - 0.1296 = 0.2304
    # mean = 1 + (1 - 0.79) / 0.75 * (0.48 - 0.75) = 1 - 0.28 * 0.27 = 0.9244
    mean, std, x0 = euler_ancestral_step(one(1.0), one(-0.25), sigmas(0.75, 0.6, "v_prediction"))
    assert x0.item() == pytest.approx(0.79)
    assert std == pytest.approx(0.36)
    assert mean.item() == pytest.approx(0.9244)


def test_euler_ancestral_ends_on_x0_without_noise() -> None:
    mean, std, x0 = euler_ancestral_step(one(3.0), one(0.5), sigmas(2.0, 0.0))
    assert std == 0.0
    assert mean.item() == pytest.approx(x0.item()) == pytest.approx(2.0)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("a_t", "a_p"), [(0.2, 0.3), (0.005, 0.05), (0.6, 0.99), (0.9, 1.0)])
def test_euler_ancestral_is_ddim_with_eta_one_after_rescaling(a_t: float, a_p: float, prediction_type: str) -> None:
    x, output = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    ddim = ddim_step(x, output, levels(a_t, a_p, prediction_type), eta=1.0)
    # x0 + sigma e = (sqrt(a) x0 + sqrt(1-a) e) / sqrt(a)
    level = sigmas(math.sqrt((1 - a_t) / a_t), math.sqrt((1 - a_p) / a_p), prediction_type)
    euler = euler_ancestral_step(x / math.sqrt(a_t), output, level)
    assert euler.std * math.sqrt(a_p) == pytest.approx(ddim.std, rel=1e-5)
    torch.testing.assert_close(euler.mean * math.sqrt(a_p), ddim.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(euler.x0, ddim.x0, atol=1e-5, rtol=1e-5)


def test_euler_ancestral_names_a_prediction_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="'sample' is neither"):
        euler_ancestral_step(one(1.0), one(1.0), sigmas(2.0, 1.0, "sample"))


def test_log_prob_by_hand() -> None:
    # N(0.5 | 0, 0.5^2): -0.25 / 0.5 - ln 0.5 - ln(2 pi) / 2 = -0.5 + 0.6931 - 0.9189
    found = log_prob(one(0.5), one(0.0), 0.5)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(-0.5 - math.log(0.5) - 0.5 * math.log(2 * math.pi), rel=1e-6)


def test_log_prob_is_a_mean_over_elements() -> None:
    x, mean = torch.randn(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    want = torch.distributions.Normal(mean, 0.7).log_prob(x).mean(dim=(1, 2, 3))
    torch.testing.assert_close(log_prob(x, mean, 0.7), want)


def test_a_step_without_noise_has_no_log_probability() -> None:
    with pytest.raises(ValueError, match="no log-probability"):
        log_prob(one(0.5), one(0.5), 0.0)
