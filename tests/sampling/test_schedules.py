"""Schedules against diffusers' own schedulers and pipelines: same config, same noise, float32 on a CPU.

The network is a fixed nonlinear function of what it sees and of the timestep. Differences are measured
against the largest value at hand, since samples in sigma space start near 15.
"""

from __future__ import annotations

import inspect
import warnings
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler
from torch.utils._python_dispatch import TorchDispatchMode

from scripts.reference import sdxl_pipeline
from tastemaker.core.errors import InputError, ModelFileError
from tastemaker.sampling.schedulers import MODEL_DEFAULT, NAMES
from tastemaker.sampling.schedules import Schedule, default_scheduler, describe, make_schedule, model_config
from tastemaker.sampling.steps import ImageNoise

REFERENCES = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_sde": ("DPMSolverSDEScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
# diffusers' own noise sampler asks a rounding past its ends; ours does not (tested below)
pytestmark = pytest.mark.filterwarnings("ignore:Should have t:UserWarning")
GAUSSIAN = ("ddim", "ddpm", "euler_ancestral")
SPACINGS = ("leading", "linspace", "trailing")
SEEDS, SHAPE = [11, 12], (3, 8, 8)
CPU = torch.device("cpu")
SDXL = {  # stabilityai/stable-diffusion-xl-base-1.0, but for the class: every key that any class reads is stated
    "_class_name": "EulerAncestralDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
CHURCH = {  # google/ddpm-church-256
    "_class_name": "DDPMScheduler",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": True,
    "skip_prk_steps": False,
    "steps_offset": 0,
    "timestep_spacing": "leading",
    "variance_type": "fixed_small",
}


def network(x: torch.Tensor, t: float) -> torch.Tensor:
    return torch.sin(1.5 * x + t / 300)


def diffusers_scheduler(name: str, config: dict[str, Any], steps: int) -> Any:
    cls, options = REFERENCES[name]
    scheduler = getattr(diffusers, cls).from_config({**config, **options})
    scheduler.set_timesteps(steps)
    return scheduler


def run_diffusers(scheduler: Any, x: torch.Tensor, timesteps: torch.Tensor, eta: float, noise: ImageNoise) -> list:
    """The samples a diffusers pipeline goes through, the first one included."""
    takes, extra = inspect.signature(scheduler.step).parameters, {}
    if "generator" in takes:
        extra["generator"] = noise.generators
    if "eta" in takes:
        extra["eta"] = eta
    if hasattr(scheduler, "noise_sampler"):
        sigmas = scheduler.sigmas
        ends = sigmas[sigmas > 0].min().item(), sigmas.max().item()
        scheduler.noise_sampler = BrownianTreeNoiseSampler(x, *ends, seed=list(noise.seeds))
    samples = [x]
    for t in timesteps:
        output = network(scheduler.scale_model_input(samples[-1], t), t.item())
        samples.append(scheduler.step(output, t, samples[-1], **extra).prev_sample)
    return samples


def run_ours(schedule: Schedule, x: torch.Tensor, noise: ImageNoise) -> list:
    samples = [x]
    for index, t in enumerate(schedule.timesteps):
        output = network(schedule.network_input(index, samples[-1]), t)
        samples.append(schedule.step(index, samples[-1], output, noise).sample)
    return samples


def assert_same(ours: list, theirs: list, tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for index, (got, want) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.isfinite(want).all()
        error = (got - want).abs().max() / want.abs().max().clamp(min=1)
        assert error <= tolerance, f"sample {index}: {error}"


def compare(name: str, config: dict[str, Any], steps: int, eta: float = 0.0, tolerance: float = 1e-5) -> None:
    """Timesteps, the whole trajectory, and each step alone from the reference's own samples."""
    reference = diffusers_scheduler(name, config, steps)
    ours = make_schedule(config, name, steps, eta)
    assert list(ours.timesteps) == reference.timesteps.tolist()
    noise, same_noise = ImageNoise(SEEDS, SHAPE), ImageNoise(SEEDS, SHAPE)
    unit = noise.draw(CPU)
    want = run_diffusers(reference, unit * reference.init_noise_sigma, reference.timesteps, eta, noise)
    assert_same(run_ours(ours, ours.begin(same_noise.draw(CPU)), same_noise), want, tolerance)

    ours, same_noise = make_schedule(config, name, steps, eta), ImageNoise(SEEDS, SHAPE)
    same_noise.draw(CPU)
    for index, t in enumerate(ours.timesteps):
        output = network(ours.network_input(index, want[index]), t)
        got = ours.step(index, want[index], output, same_noise).sample
        assert_same([got], [want[index + 1]], 2e-6)


def test_every_name_has_a_reference() -> None:
    assert set(NAMES) == {MODEL_DEFAULT, *REFERENCES}


@pytest.mark.parametrize("steps", [3, 10, 25])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", REFERENCES)
def test_every_scheduler_steps_as_diffusers(name: str, spacing: str, prediction_type: str, steps: int) -> None:
    config = {**SDXL, "timestep_spacing": spacing, "prediction_type": prediction_type}
    compare(name, config, steps)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [4, 7, 40])
@pytest.mark.parametrize(("name", "eta"), [("ddim", 1.0), ("ddim", 0.3), ("ddpm", 0.0), ("pndm", 0.0), ("lcm", 0.0)])
def test_a_church_model_steps_as_diffusers(name: str, eta: float, spacing: str, steps: int) -> None:
    compare(name, {**CHURCH, "timestep_spacing": spacing}, steps, eta)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ddim", {"prediction_type": "sample", "clip_sample_range": 1.5}),
        ("ddpm", {"prediction_type": "sample", "clip_sample_range": 1.5}),
        ("ddim", {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "clip_sample_range": 1.5}),
        ("ddpm", {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "clip_sample_range": 1.5}),
        ("ddpm", {"variance_type": "fixed_large"}),
        ("ddpm", {"variance_type": "fixed_large", "steps_offset": 1}),
        ("ddim", {"set_alpha_to_one": False, "steps_offset": 1}),
        ("ddim", {"beta_schedule": "squaredcos_cap_v2"}),
        ("euler", {"prediction_type": "sample"}),
        ("unipc", {"prediction_type": "sample"}),
        ("dpmpp_2m", {"prediction_type": "sample"}),
        ("lcm", {"prediction_type": "sample"}),
        ("euler_ancestral", {"num_train_timesteps": 100, "beta_end": 0.1}),
        ("ddim", {"num_train_timesteps": 100, "trained_betas": [0.001 * (i + 1) for i in range(100)]}),
    ],
)
def test_other_configs_step_as_diffusers(name: str, change: dict[str, Any]) -> None:
    compare(name, {**CHURCH, **change}, 8, eta=0.7 if name == "ddim" else 0.0)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("name", ["ddim", "ddpm", "euler", "euler_ancestral", "dpmpp_2m", "unipc", "lcm"])
def test_zero_terminal_snr_steps_as_diffusers(name: str, spacing: str) -> None:
    config = {**SDXL, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": spacing}
    # sigma space begins at 4096 there: compared relative to that
    compare(name, config, 6)


@pytest.mark.parametrize("name", ["pndm", "dpmpp_sde"])
def test_zero_terminal_snr_is_refused_by_name_where_diffusers_has_none(name: str) -> None:
    assert "rescale_betas_zero_snr" not in getattr(diffusers, REFERENCES[name][0])().config
    config = {**SDXL, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    with pytest.raises(InputError, match=f"{name} cannot run models of zero terminal SNR"):
        make_schedule(config, name, 5)


def test_zero_terminal_snr_needs_v_prediction() -> None:
    config = {**SDXL, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    with pytest.raises(ModelFileError, match="v_prediction"):
        make_schedule(config, "ddim", 5)


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_sde"])
def test_predicting_the_sample_is_refused_where_diffusers_cannot(name: str) -> None:
    config = {**SDXL, "prediction_type": "sample"}
    reference = diffusers_scheduler(name, config, 5)
    x = torch.zeros(1, *SHAPE)
    with pytest.raises((NotImplementedError, ValueError)):
        reference.step(x, reference.timesteps[0], x)
    with pytest.raises(InputError, match="predicts the clean sample"):
        make_schedule(config, name, 5)


@pytest.mark.parametrize("skip_prk_steps", [True, False])
def test_pndm_of_a_network_that_predicts_the_sample_is_pndm_of_its_epsilon(skip_prk_steps: bool) -> None:
    config = {**SDXL, "skip_prk_steps": skip_prk_steps}
    ours, noise = make_schedule({**config, "prediction_type": "sample"}, "pndm", 12), ImageNoise(SEEDS, SHAPE)
    reference = diffusers_scheduler("pndm", config, 12)
    assert list(ours.timesteps) == reference.timesteps.tolist()
    ours_at = reference_at = noise.draw(CPU)
    for index, t in enumerate(reference.timesteps):
        level = reference.alphas_cumprod[t]
        clean = torch.tanh(reference_at)  # any network
        epsilon = (reference_at - level.sqrt() * clean) / (1 - level).sqrt()
        reference_at = reference.step(epsilon, t, reference_at).prev_sample
        ours_at, x0 = ours.step(index, ours_at, torch.tanh(ours_at), noise)
        torch.testing.assert_close(ours_at, reference_at, atol=1e-5, rtol=1e-5)
        assert x0.abs().max() <= 1.01


# image to image and hand-off


def pipeline_timesteps(scheduler: Any, steps: int, strength: float, start: float | None = None) -> list[float]:
    """What StableDiffusionXLImg2ImgPipeline runs, its own method."""
    pipeline = SimpleNamespace(scheduler=scheduler)
    timesteps, _ = StableDiffusionXLImg2ImgPipeline.get_timesteps(pipeline, steps, strength, None, start)
    return timesteps


@pytest.mark.parametrize(("steps", "denoise"), [(5, 0.5), (10, 0.3), (4, 0.8), (7, 1.0)])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", REFERENCES)
def test_image_to_image_is_the_pipelines(name: str, spacing: str, steps: int, denoise: float) -> None:
    config = {**SDXL, "timestep_spacing": spacing}
    total = int(steps / denoise)
    reference = diffusers_scheduler(name, config, total)
    # the strength whose int(total * strength) is `steps`, out of reach of rounding
    timesteps = pipeline_timesteps(reference, total, (steps + 0.5) / total)
    ours = make_schedule(config, name, steps, denoise=denoise)
    assert list(ours.timesteps) == timesteps.tolist()
    x0 = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    noise, same_noise = ImageNoise(SEEDS, SHAPE), ImageNoise(SEEDS, SHAPE)
    noisy = reference.add_noise(x0, noise.draw(CPU), timesteps[:1])
    got = ours.noised(x0, same_noise.draw(CPU))
    assert_same(run_ours(ours, got, same_noise), run_diffusers(reference, noisy, timesteps, 0.0, noise), 1e-5)


def test_denoise_runs_the_steps_that_were_asked() -> None:
    # as the host: the last 10 of int(10 / 0.3) = 33 steps, of 1000 // 33 = 30 timesteps each, offset 1
    ours = make_schedule(SDXL, "ddim", 10, denoise=0.3)
    assert ours.timesteps == tuple(range(271, 0, -30))


@pytest.mark.parametrize("start", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("steps", [8, 25])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", REFERENCES)
def test_start_is_the_pipelines(name: str, spacing: str, steps: int, start: float) -> None:
    config = {**SDXL, "timestep_spacing": spacing}
    reference = diffusers_scheduler(name, config, steps)
    timesteps = pipeline_timesteps(reference, steps, 0.3, start)
    ours = make_schedule(config, name, steps, start=start)
    assert list(ours.timesteps) == timesteps.tolist()
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    noise, same_noise = ImageNoise(SEEDS, SHAPE), ImageNoise(SEEDS, SHAPE)
    assert_same(run_ours(ours, x, same_noise), run_diffusers(reference, x, timesteps, 0.0, noise), 1e-5)


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_sde"])
def test_stop_is_the_pipelines(tiny_sdxl, name: str) -> None:
    ran: list[float] = []
    pipeline = sdxl_pipeline(tiny_sdxl, getattr(diffusers, REFERENCES[name][0]))
    pipeline(
        "a red heart",
        num_inference_steps=8,
        denoising_end=0.6,
        height=64,
        width=64,
        guidance_scale=1.0,
        output_type="latent",
        callback_on_step_end=lambda pipe, index, t, tensors: ran.append(t.item()) or tensors,
    )
    ours = make_schedule(tiny_sdxl.scheduler_config, name, 8, stop=0.6)
    assert list(ours.timesteps) == ran


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", ["ddim", "ddpm", "euler", "euler_ancestral", "lcm"])
def test_base_and_refiner_together_are_one_run(name: str, spacing: str) -> None:
    # no history: two halves with the same noise streams are the whole
    config = {**SDXL, "timestep_spacing": spacing}
    whole = make_schedule(config, name, 10)
    base, refiner = make_schedule(config, name, 10, stop=0.7), make_schedule(config, name, 10, start=0.7)
    assert base.timesteps + refiner.timesteps == whole.timesteps
    noise, same_noise = ImageNoise(SEEDS, SHAPE), ImageNoise(SEEDS, SHAPE)
    want = run_ours(whole, whole.begin(noise.draw(CPU)), noise)[-1]
    middle = run_ours(base, base.begin(same_noise.draw(CPU)), same_noise)[-1]
    assert torch.equal(run_ours(refiner, middle, same_noise)[-1], want)


# what schedules promise


@pytest.mark.parametrize("name", REFERENCES)
def test_each_image_depends_on_its_own_seed_alone(name: str) -> None:
    def run(seeds: list[int]) -> torch.Tensor:
        noise = ImageNoise(seeds, SHAPE)
        schedule = make_schedule(SDXL, name, 6, eta=1.0 if name == "ddim" else 0.0)
        return run_ours(schedule, schedule.begin(noise.draw(CPU)), noise)[-1]

    whole = run([5, 6, 7])
    assert_same([torch.cat([run([5]), run([6, 7])])], [whole], 1e-6)
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("name", REFERENCES)
def test_steps_never_ask_the_device_for_a_value(name: str) -> None:
    # a meta tensor has no values: .item(), a comparison or a copy to the CPU would raise
    meta, noise = torch.device("meta"), ImageNoise(SEEDS, SHAPE)
    schedule = make_schedule(SDXL, name, 6, eta=1.0 if name == "ddim" else 0.0)
    x = schedule.begin(noise.draw(meta))
    for index in range(len(schedule.timesteps)):
        x, x0 = schedule.step(index, x, schedule.network_input(index, x), noise)
        assert x.device == x0.device == meta
    assert x.dtype == x0.dtype == torch.float32


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a device, or sends it single numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert "linalg" not in name, name
        if name == "_to_copy" and (kwargs or {}).get("device") == torch.device("meta"):
            assert args[0].ndim == 4 or args[0].device.type == "meta", f"a {tuple(args[0].shape)} is sent"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name in REFERENCES if name != "unipc"])  # diffusers' solves a 2 x 2 system
def test_steps_solve_and_send_nothing(name: str) -> None:
    meta, noise = torch.device("meta"), ImageNoise(SEEDS, SHAPE)
    schedule = make_schedule(SDXL, name, 6, eta=1.0 if name == "ddim" else 0.0)
    x = schedule.begin(noise.draw(meta))
    with NoWaiting():
        for index in range(len(schedule.timesteps)):
            x, _ = schedule.step(index, x, schedule.network_input(index, x), noise)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [3, 25])
def test_brownian_noise_is_asked_for_inside_its_ends(steps: int, spacing: str) -> None:
    noise = ImageNoise(SEEDS, SHAPE)
    schedule = make_schedule({**SDXL, "timestep_spacing": spacing}, "dpmpp_sde", steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.isfinite(run_ours(schedule, schedule.begin(noise.draw(CPU)), noise)[-1]).all()


@pytest.mark.parametrize("name", REFERENCES)
def test_x0_is_the_clean_sample_a_perfect_network_sees(name: str) -> None:
    # epsilon of a sample that is x0 and known noise: the first step must foresee that x0
    schedule = make_schedule(SDXL, name, 10)
    noise = ImageNoise(SEEDS, SHAPE)
    x0, e = torch.full((2, *SHAPE), 0.5), noise.draw(CPU)
    x = schedule.noised(x0, e)
    schedule.network_input(0, x)
    if name != "lcm":  # which foresees x0 by a consistency function of its own, not quite this one
        torch.testing.assert_close(schedule.step(0, x, e, noise).x0, x0, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", REFERENCES)
def test_only_gaussian_schedulers_have_a_distribution(name: str) -> None:
    assert hasattr(make_schedule(SDXL, name, 6), "distribution") == (name in GAUSSIAN)


@pytest.mark.parametrize(("name", "eta"), [("ddim", 1.0), ("ddpm", 0.0), ("euler_ancestral", 0.0)])
def test_a_step_is_its_distributions_mean_and_noise(name: str, eta: float) -> None:
    schedule = make_schedule(SDXL, name, 6, eta)
    x, output = torch.randn(2, *SHAPE), torch.randn(2, *SHAPE)
    for index in range(6):
        noise = ImageNoise(SEEDS, SHAPE)
        got = schedule.step(index, x, output, noise).sample
        mean, std, _ = schedule.distribution(index, x, output)
        assert torch.equal(got, mean + std * ImageNoise(SEEDS, SHAPE).draw(CPU))
        untouched = torch.equal(noise.draw(CPU), ImageNoise(SEEDS, SHAPE).draw(CPU))
        assert untouched == (std == 0)  # noise is drawn only where it is needed


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_euler_ancestral_is_ddim_with_eta_one_all_the_way(prediction_type: str) -> None:
    # DDIM must end at level 1, as sigma space does
    config = {**SDXL, "prediction_type": prediction_type, "set_alpha_to_one": True}
    noise, same_noise = ImageNoise(SEEDS, SHAPE), ImageNoise(SEEDS, SHAPE)
    ddim, euler = make_schedule(config, "ddim", 10, eta=1.0), make_schedule(config, "euler_ancestral", 10)
    want = run_ours(ddim, ddim.begin(noise.draw(CPU)), noise)
    got = run_ours(euler, euler.begin(same_noise.draw(CPU)), same_noise)
    scales = [c.a_t.sqrt() for c in ddim.coefficients] + [1.0]
    assert_same([x * scale for x, scale in zip(got, scales, strict=True)], want, 1e-5)


def test_euler_ancestral_ends_without_noise() -> None:
    schedule = make_schedule(SDXL, "euler_ancestral", 4)
    x = torch.ones(2, *SHAPE)
    assert [schedule.distribution(i, x, x).std > 0 for i in range(4)] == [True, True, True, False]


def test_ddim_on_a_church_model_ends_without_noise() -> None:
    # facts of the official model: 40 leading steps end at t = 0, whose next level is 1
    schedule = make_schedule(CHURCH, "ddim", 40, eta=1.0)
    x = torch.ones(2, *SHAPE)
    assert schedule.timesteps[-1] == 0
    assert schedule.distribution(39, x, x).std == 0
    assert schedule.distribution(38, x, x).std > 0


# configs


def test_missing_keys_are_what_the_models_own_class_assumes() -> None:
    # EulerAncestral does not clip and spaces linearly; DDIMScheduler by itself would clip, spacing leading
    short = {k: SDXL[k] for k in ("_class_name", "beta_start", "beta_end", "beta_schedule")}
    kept = model_config(short)
    assert (kept["clip_sample"], kept["timestep_spacing"]) == (False, "linspace")
    assert make_schedule(short, "ddim", 5).timesteps == (999, 749, 500, 250, 0)
    # DDPMScheduler clips
    assert model_config({"_class_name": "DDPMScheduler"})["clip_sample"] is True


@pytest.mark.parametrize("name", REFERENCES)
def test_the_models_own_scheduler_is_found(name: str) -> None:
    cls, options = REFERENCES[name]
    own = getattr(diffusers, cls)(beta_schedule="scaled_linear", **options)
    config = {"_class_name": cls, **own.config}
    assert default_scheduler(config) == name
    steps = make_schedule(config, MODEL_DEFAULT, 5)
    own.set_timesteps(5)
    assert list(steps.timesteps) == own.timesteps.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "HeunDiscreteScheduler"}, "own is HeunDiscreteScheduler, which is not among"),
        ({"_class_name": "KDPM2AncestralDiscreteScheduler"}, "own is KDPM2AncestralDiscreteScheduler, which is not"),
        ({"_class_name": "UniPCMultistepScheduler", "lower_order_final": False}, "with lower_order_final=False"),
    ],
)
def test_a_default_that_is_not_ours_is_refused_not_replaced(change: dict[str, Any], message: str) -> None:
    config = {**SDXL, **change}
    with pytest.raises(InputError, match=message):
        make_schedule(config, MODEL_DEFAULT, 5)
    assert make_schedule(config, "ddim", 5).timesteps == (801, 601, 401, 201, 1)


def test_a_config_is_described() -> None:
    assert describe({**CHURCH, "steps_offset": 2}).splitlines() == [
        "DDPMScheduler (model default: ddpm)",
        "training steps: 1000",
        "betas: linear from 0.0001 to 0.02",
        "network predicts: epsilon",
        "timestep spacing: leading, offset 2",
        "clean sample clipped: to +-1",
    ]
    heun = describe({**SDXL, "_class_name": "HeunDiscreteScheduler", "rescale_betas_zero_snr": True})
    assert "HeunDiscreteScheduler (model default: none of the schedulers here)" in heun
    assert "zero terminal SNR" in heun


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "EDMDPMSolverMultistepScheduler"}, r"Playground v2\.5"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow-matching"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "use_flow_sigmas"),
        ({"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction"}, "flow_prediction"),
        ({"_class_name": "EulerDiscreteScheduler", "prediction_type": "edm"}, "'edm'"),
        ({"_class_name": "ConfigMixin"}, "not known here"),
        ({"_class_name": "os"}, "not known here"),
        ({"_class_name": None}, "not known here"),
        ({"_class_name": "DDPMScheduler", "thresholding": True}, "thresholding"),
        ({"_class_name": "DDPMScheduler", "variance_type": "learned_range"}, "learned_range"),
        ({"beta_schedule": "../x"}, "not implemented"),
        ({"timestep_spacing": "sideways"}, "sideways"),
        ({"num_train_timesteps": 10**12}, "num_train_timesteps"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps"),
        ({"steps_offset": -5}, "steps_offset"),
        ({"beta_end": 1.5}, "beta_end"),
        ({"beta_start": float("nan")}, "beta_start"),
        ({"trained_betas": [0.1, 0.2]}, "list of 1000"),
        ({"trained_betas": ["0.1"] * 1000}, "trained_betas"),
        ({"clip_sample": True, "clip_sample_range": 0}, "clip_sample_range"),
    ],
)
@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_2m", MODEL_DEFAULT])
def test_configs_without_a_formula_here_are_refused_by_name(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        make_schedule({**SDXL, **change}, name, 5)


@pytest.mark.parametrize(
    ("name", "call", "message"),
    [
        ("ddim", {"steps": 1001}, "steps: .* trained with 1000 steps"),
        ("ddim", {"steps": 500, "denoise": 0.3}, "steps: .* are the end of 1666"),
        ("ddim", {"steps": 1000}, "offset leads past the last training timestep"),
        ("lcm", {"steps": 51}, "steps: lcm cannot run so few or so many"),
        ("dpmpp_2m", {"steps": 1000}, "same noise level"),
        ("unipc", {"steps": 999}, "same noise level"),
        ("euler", {"steps": 5, "eta": 0.5}, "eta: euler has no eta"),
        ("ddim", {"steps": 5, "denoise": 0.0}, "denoise"),
        ("ddim", {"steps": 5, "denoise": 1.1}, "denoise"),
        ("ddim", {"steps": 5, "denoise": float("nan")}, "denoise"),
        ("ddim", {"steps": 5, "denoise": 0.5, "start": 0.2}, "denoise"),
        ("ddim", {"steps": 5, "start": 0.6, "stop": 0.5}, "start is below stop"),
        ("ddim", {"steps": 5, "start": -0.1}, "start"),
        ("ddim", {"steps": 5, "stop": 1.5}, "start"),
        ("ddim", {"steps": 5, "start": float("nan")}, "start"),
        ("ddim", {"steps": 5, "stop": 0.1}, "No step lies between"),
        ("ddim", {"steps": 5, "start": 0.999}, "No step lies between"),
        ("euler", {"steps": 5, "start": 0.5, "stop": 0.55}, "No step lies between"),
    ],
)
def test_what_cannot_run_is_refused_by_name(name: str, call: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_schedule(SDXL, name, **call)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_pndm_with_runge_kutta_steps_needs_four(steps: int) -> None:
    with pytest.raises(InputError, match="steps: pndm cannot run"):
        make_schedule(CHURCH, "pndm", steps)
    assert len(make_schedule(CHURCH, "pndm", 4).timesteps) == 13


def test_pndm_with_runge_kutta_steps_cannot_start_later() -> None:
    with pytest.raises(InputError, match="Runge-Kutta"):
        make_schedule(CHURCH, "pndm", 10, denoise=0.5)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise ImportError("torchsde")

    monkeypatch.setattr(diffusers.DPMSolverSDEScheduler, "__init__", missing)
    with pytest.raises(InputError, match="scheduler: .*torchsde.*dpmpp_2m"):
        make_schedule(SDXL, "dpmpp_sde", 5)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", REFERENCES)
def test_one_and_two_steps_run_as_diffusers(name: str, steps: int) -> None:
    compare(name, SDXL, steps)
