"""Schedulers picked by name take what the model's config says of its solver, as diffusers' `X.from_config` does."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from tastemaker.core.errors import InputError, ModelFileError
from tastemaker.sampling.schedules import MODEL_DEFAULT, default_scheduler, describe, make_schedule
from tastemaker.sampling.steps import ImageNoise
from tests.sampling.test_schedules import (
    CPU,
    REFERENCES,
    SDXL,
    SEEDS,
    SHAPE,
    assert_same,
    compare,
    diffusers_scheduler,
    run_diffusers,
    run_ours,
)

EULER = {**SDXL, "_class_name": "EulerDiscreteScheduler"}
DPM = {**SDXL, "_class_name": "DPMSolverMultistepScheduler"}
UNIPC = {**SDXL, "_class_name": "UniPCMultistepScheduler"}
LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
# own class, its option, the schedulers by name whose class takes it
OPTIONS: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    *((EULER, {flag: True}, ("euler", "dpmpp_2m", "dpmpp_sde", "unipc")) for flag in LEVELS),
    (EULER, {"final_sigmas_type": "sigma_min"}, ("euler", "dpmpp_2m", "unipc")),
    (EULER, {"interpolation_type": "log_linear"}, ("euler",)),
    (DPM, {"use_lu_lambdas": True}, ("dpmpp_2m",)),
    (DPM, {"solver_order": 3}, ("dpmpp_2m", "unipc")),
    (DPM, {"solver_order": 1}, ("dpmpp_2m", "unipc")),
    (DPM, {"solver_type": "heun"}, ("dpmpp_2m",)),
    (DPM, {"algorithm_type": "sde-dpmsolver++"}, ("dpmpp_2m", "dpmpp_2m_karras")),
    (DPM, {"euler_at_final": True}, ("dpmpp_2m", "dpmpp_2m_karras")),
    (DPM, {"lower_order_final": False, "final_sigmas_type": "sigma_min"}, ("dpmpp_2m", "unipc")),
    (DPM, {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, ("dpmpp_2m",)),
    (DPM, {"lambda_min_clipped": -2.0, "timestep_spacing": "linspace"}, ("dpmpp_2m",)),
    (UNIPC, {"solver_type": "bh1", "final_sigmas_type": "sigma_min"}, ("unipc",)),
    (UNIPC, {"predict_x0": False, "final_sigmas_type": "sigma_min"}, ("unipc",)),
    (UNIPC, {"disable_corrector": [0, 1]}, ("unipc",)),
    ({**SDXL, "_class_name": "LCMScheduler"}, {"original_inference_steps": 40}, ("lcm",)),
    ({**SDXL, "_class_name": "LCMScheduler"}, {"timestep_scaling": 0.001}, ("lcm",)),
    ({**SDXL, "_class_name": "TCDScheduler"}, {"original_inference_steps": 25}, ("lcm",)),
    ({**SDXL, "_class_name": "DEISMultistepScheduler"}, {"use_karras_sigmas": True}, ("euler", "dpmpp_2m")),
    ({**SDXL, "_class_name": "KDPM2DiscreteScheduler"}, {"use_exponential_sigmas": True}, ("euler", "unipc")),
]
CASES = [
    pytest.param(own, option, name, id=f"{own['_class_name']}-{'-'.join(f'{k}={v}' for k, v in option.items())}-{name}")
    for own, option, names in OPTIONS
    for name in names
]
pytestmark = pytest.mark.filterwarnings("ignore")


def final(config: dict[str, Any], name: str, steps: int) -> torch.Tensor:
    noise, schedule = ImageNoise(SEEDS, SHAPE), make_schedule(config, name, steps)
    return run_ours(schedule, schedule.begin(noise.draw(CPU)), noise)[-1]


@pytest.mark.parametrize(("own", "option", "name"), CASES)
def test_a_solver_option_is_kept_as_from_config_keeps_it(own: dict[str, Any], option: dict, name: str) -> None:
    config = {**own, **option}
    for steps in (6, 18):
        compare(name, config, steps)
    plain = final(own, name, 6)
    if name != "dpmpp_2m_karras" and "euler_at_final" not in option:
        assert not torch.allclose(final(config, name, 6), plain, atol=1e-4), "the option changes nothing here"


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "unipc", "dpmpp_sde"])
@pytest.mark.parametrize("flag", LEVELS)
def test_levels_of_every_spacing(name: str, spacing: str, flag: str) -> None:
    compare(name, {**EULER, flag: True, "timestep_spacing": spacing, "prediction_type": "v_prediction"}, 7)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "pndm", "euler_ancestral"])
def test_schedulers_without_such_options_are_as_they_were(name: str) -> None:
    config = {**EULER, "use_karras_sigmas": True, "final_sigmas_type": "sigma_min", "interpolation_type": "log_linear"}
    assert torch.equal(final(config, name, 6), final(EULER, name, 6))
    compare(name, config, 6)


@pytest.mark.parametrize("option", [{"lower_order_final": False}, {"solver_type": "bh1"}])
def test_unipc_ends_where_diffusers_ends_at_infinity(option: dict[str, Any]) -> None:
    """Both are for runs that end above level 0."""
    reference = diffusers_scheduler("unipc", {**UNIPC, **option}, 6)
    noise = ImageNoise(SEEDS, SHAPE)
    theirs = run_diffusers(reference, noise.draw(CPU), reference.timesteps, 0.0, noise)[-1]
    assert not torch.isfinite(theirs).any()
    assert torch.equal(final({**UNIPC, **option}, "unipc", 6), final(UNIPC, "unipc", 6))
    with pytest.raises(InputError, match=f"own is UniPCMultistepScheduler with {next(iter(option))}="):
        default_scheduler({**UNIPC, **option})


def test_the_karras_name_wins_over_other_levels() -> None:
    """`from_config` with two kinds of levels is an error in diffusers; the name says which is meant."""
    config = {**DPM, "use_exponential_sigmas": True}
    with pytest.raises(ValueError, match="Only one of"):
        diffusers_scheduler("dpmpp_2m_karras", config, 6)
    assert torch.equal(final(config, "dpmpp_2m_karras", 6), final(DPM, "dpmpp_2m_karras", 6))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("cls", ["SASolverScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler"])
def test_the_whole_config_of_another_class_runs(name: str, cls: str) -> None:
    """As saved by diffusers, every key of the class stated; SASolver's algorithms are unknown to the others."""
    saved = getattr(diffusers, cls)(beta_schedule="scaled_linear").config
    config = {"_class_name": cls, **{k: v for k, v in saved.items() if not k.startswith("_")}}
    reference = {k: v for k, v in config.items() if k != "algorithm_type" or cls != "SASolverScheduler"}
    noise, same_noise = ImageNoise(SEEDS, SHAPE), ImageNoise(SEEDS, SHAPE)
    ours = make_schedule(config, name, 6)
    assert_same(
        run_ours(ours, ours.begin(noise.draw(CPU)), noise)[-1:],
        run_ours((again := make_schedule(reference, name, 6)), again.begin(same_noise.draw(CPU)), same_noise)[-1:],
        0.0,
    )
    # DPMSolverSinglestep knows linspace only, and does not say so
    assert (
        list(ours.timesteps)
        == diffusers_scheduler(name, {"timestep_spacing": "linspace", **reference}, 6).timesteps.tolist()
    )


@pytest.mark.parametrize(
    ("config", "name", "said"),
    [
        (EULER | {"use_karras_sigmas": True}, "euler", "solver: use_karras_sigmas True"),
        (DPM | {"use_karras_sigmas": True}, "dpmpp_2m_karras", "solver: use_karras_sigmas True"),
        (DPM | {"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m", "solver: algorithm_type sde-dpmsolver++"),
        (UNIPC | {"solver_order": 3}, "unipc", "solver: solver_order 3"),
        (DPM | {"use_lu_lambdas": True, "solver_type": "midpoint"}, "dpmpp_2m", "solver: use_lu_lambdas True"),
    ],
)
def test_a_models_own_solver_is_the_default_with_its_options(config: dict, name: str, said: str) -> None:
    assert default_scheduler(config) == name
    assert describe(config).splitlines()[-1] == said
    compare(name, config, 6)


def test_a_default_that_is_not_ours_says_what_is_missing_of_the_nearest() -> None:
    """Of dpmpp_2m, which takes the rest, and not of dpmpp_2m_karras."""
    config = {**DPM, "algorithm_type": "sde-dpmsolver++", "sample_max_value": 3.0, "variance_type": None}
    assert default_scheduler(config) == "dpmpp_2m"
    with pytest.raises(
        InputError, match=r"own is DEISMultistepScheduler, which is not among the schedulers here: pick"
    ):
        make_schedule({**SDXL, "_class_name": "DEISMultistepScheduler"}, MODEL_DEFAULT, 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_karras_sigmas": 1}, "use_karras_sigmas is '1'"),
        ({"use_lu_lambdas": "yes"}, "use_lu_lambdas is 'yes'"),
        ({"solver_order": 10**6}, "solver_order"),
        ({"solver_order": True}, "solver_order"),
        ({"solver_type": ["midpoint"]}, "solver_type"),
        ({"algorithm_type": "os.system"}, "algorithm_type"),
        ({"final_sigmas_type": "x" * 10**6}, "final_sigmas_type"),
        ({"interpolation_type": None}, "interpolation_type"),
        ({"original_inference_steps": 0}, "original_inference_steps"),
        ({"original_inference_steps": 10**9}, "original_inference_steps"),
        ({"timestep_scaling": "10"}, "timestep_scaling"),
        ({"sigma_min": -1}, "sigma_min"),
        ({"sigma_max": float("inf")}, "sigma_max"),
        ({"lambda_min_clipped": float("nan")}, "lambda_min_clipped"),
        ({"disable_corrector": 5}, "disable_corrector"),
        ({"solver_p": {"_class_name": "DDIMScheduler"}}, "solver_p"),
        ({"timestep_type": "continuous", "prediction_type": "v_prediction"}, "timestep_type 'continuous'"),
        ({"use_karras_sigmas": True, "use_beta_sigmas": True}, "Only one of"),
    ],
)
@pytest.mark.parametrize("cls", ["EulerDiscreteScheduler", "UniPCMultistepScheduler"])
def test_hostile_options_are_refused_by_name(cls: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelFileError, match=said) as refused:
        make_schedule({**SDXL, "_class_name": cls, **change}, "unipc", 5)
    assert len(str(refused.value)) < 600


def test_an_option_that_only_one_scheduler_cannot_take_names_the_scheduler() -> None:
    config = {**EULER, "algorithm_type": "dpmsolver"}  # not Euler's key, but a stranger's file can have it
    with pytest.raises(InputError, match=r"scheduler: It cannot run this model .*dpmsolver.* Pick ddim"):
        make_schedule(config, "dpmpp_2m", 5)
    assert make_schedule(config, "euler", 5).timesteps[0] == 801


def test_scipy_is_named_where_beta_levels_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise ImportError("Make sure to install scipy if you want to use beta sigmas.")

    monkeypatch.setattr(diffusers.UniPCMultistepScheduler, "__init__", missing)
    with pytest.raises(InputError, match="package scipy: install it, or pick ddim"):
        make_schedule({**EULER, "use_beta_sigmas": True}, "unipc", 5)


@pytest.mark.parametrize("steps", [1, 2, 12])
@pytest.mark.parametrize("spacing", ["leading", "linspace"])
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "unipc"])
def test_a_run_that_ends_at_the_lowest_level_is_whole(name: str, spacing: str, steps: int) -> None:
    """Where the last timestep is 0 the last step goes nowhere; it must not divide by that distance."""
    compare(name, {**EULER, "final_sigmas_type": "sigma_min", "timestep_spacing": spacing, "steps_offset": 0}, steps)


def test_fixed_small_log_is_fixed_small() -> None:
    from tests.sampling.test_schedules import CHURCH

    for spacing in ("leading", "trailing"):
        compare("ddpm", {**CHURCH, "variance_type": "fixed_small_log", "timestep_spacing": spacing}, 8)
    with pytest.raises(ModelFileError, match="fixed_large_log' is not supported: known are fixed_small"):
        make_schedule({**CHURCH, "variance_type": "fixed_large_log"}, "ddpm", 5)
    with pytest.raises(ModelFileError, match="'learned' is not supported: the network would have to predict it"):
        make_schedule({**CHURCH, "variance_type": "learned"}, "ddpm", 5)
