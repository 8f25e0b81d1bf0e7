"""Our sampling against diffusers' own pipelines: same weights, same noise, float32 on a CPU."""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    PNDMPipeline,
    PNDMScheduler,
)

from scripts.reference import sdxl_pipeline
from tastemaker.loaders import DiffusionModel
from tastemaker.sampling import sample

PROMPTS = ["a large red heart on a blue background", "a small green ring on the left of a white background"]
SEEDS = (3, 11)
ATOL = 1e-5
SCHEDULERS = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler, "pndm": PNDMScheduler}


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


def sdxl_reference(model: DiffusionModel, scheduler: str, steps: int, eta: float, **call) -> torch.Tensor:
    pipeline = sdxl_pipeline(model, SCHEDULERS[scheduler])
    call = {"guidance_scale": 4.0, "height": 64, "width": 64} | call
    images = pipeline(
        PROMPTS, num_inference_steps=steps, eta=eta, generator=generators(), output_type="pt", **call
    ).images
    return images.permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("scheduler", "steps", "eta"),
    [("ddim", 5, 0.0), ("ddim", 7, 1.0), ("ddim", 4, 0.5), ("ddpm", 6, 0.0), ("pndm", 6, 0.0)],
)
def test_sdxl_images_equal_the_pipeline(tiny_sdxl, scheduler: str, steps: int, eta: float) -> None:
    want = sdxl_reference(tiny_sdxl, scheduler, steps, eta)
    got = sample(tiny_sdxl, PROMPTS, scheduler=scheduler, steps=steps, guidance_scale=4.0, eta=eta, seeds=SEEDS)
    assert (got.images - want).abs().max() <= ATOL


def test_sdxl_with_a_negative_prompt_and_another_size(tiny_sdxl) -> None:
    call = {"negative_prompt": ["purple star"] * 2, "height": 80, "width": 48, "guidance_scale": 2.5}
    want = sdxl_reference(tiny_sdxl, "ddim", 4, 0.0, **call)
    call["negative_prompt"] = "purple star"
    got = sample(tiny_sdxl, PROMPTS, steps=4, seeds=SEEDS, **call)
    assert got.images.shape == (2, 80, 48, 3)
    assert (got.images - want).abs().max() <= ATOL


def test_sdxl_without_guidance(tiny_sdxl) -> None:
    want = sdxl_reference(tiny_sdxl, "ddim", 4, 0.0, guidance_scale=1.0)
    got = sample(tiny_sdxl, PROMPTS, steps=4, guidance_scale=1.0, seeds=SEEDS)
    assert (got.images - want).abs().max() <= ATOL


class Joint:
    """Noise of a whole batch from one stream, as diffusers draws it."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, device: torch.device) -> torch.Tensor:
        return torch.randn(2, 3, 8, 8, generator=self._generator)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_steps_equal_the_scheduler_on_other_configs(scheduler: str, prediction_type: str, spacing: str) -> None:
    from tastemaker.sampling.schedules import make_schedule

    config = {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": 1000,
        "beta_schedule": "linear",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "clip_sample": True,
        "clip_sample_range": 1.5,
        "prediction_type": prediction_type,
        "timestep_spacing": spacing,
        "steps_offset": 0,
    }
    reference = SCHEDULERS[scheduler].from_config(config)
    reference.set_timesteps(8)
    ours = make_schedule(config, scheduler, 8, eta=0.7 if scheduler == "ddim" else 0.0)
    assert list(ours.timesteps) == reference.timesteps.tolist()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for index, t in enumerate(reference.timesteps):
        output = torch.sin(x * 3 + index)
        extra = {"eta": 0.7} if scheduler == "ddim" else {}
        want = reference.step(output, t, x, generator=torch.Generator().manual_seed(index), **extra).prev_sample
        noise = Joint(index)
        x_next = ours.step(index, x, output, noise).sample
        torch.testing.assert_close(x_next, want, atol=2e-6, rtol=1e-5)
        x = want


@pytest.mark.parametrize(("scheduler", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0), ("pndm", 0.0)])
def test_ddpm_images_equal_the_pipeline(tiny_ddpm, scheduler: str, eta: float) -> None:
    steps, seed = 6, 5
    noise_schedule = SCHEDULERS[scheduler].from_config(dict(tiny_ddpm.scheduler_config))
    classes = {"ddim": DDIMPipeline, "ddpm": DDPMPipeline, "pndm": PNDMPipeline}
    pipeline = classes[scheduler](unet=tiny_ddpm.unet, scheduler=noise_schedule)
    pipeline.scheduler = noise_schedule  # DDIMPipeline makes its own
    pipeline.set_progress_bar_config(disable=True)
    extra = {"eta": eta} if scheduler == "ddim" else {}
    want = pipeline(
        generator=torch.Generator().manual_seed(seed), num_inference_steps=steps, output_type="np", **extra
    ).images
    got = sample(tiny_ddpm, scheduler=scheduler, steps=steps, eta=eta, seeds=[seed])
    assert (got.images - torch.from_numpy(want)).abs().max() <= ATOL
