"""Our sampling against diffusers' own pipelines: same weights, same noise, float32 on a CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMPipeline,
    PNDMScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
)
from diffusers.models.unets.unet_2d import UNet2DOutput

from scripts.reference import sdxl_pipeline
from tastemaker.loaders import DiffusionModel
from tastemaker.sampling import SampleOptions, sample

PROMPTS = ["a large red heart on a blue background", "a small green ring on the left of a white background"]
SEEDS = (3, 11)
ATOL = 1e-5
ONE_AT_A_TIME = SampleOptions(at_once=1)
SCHEDULERS = {
    "ddim": DDIMScheduler,
    "ddpm": DDPMScheduler,
    "pndm": PNDMScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
}


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


def sdxl_reference(model: DiffusionModel, scheduler: str, steps: int, **call) -> torch.Tensor:
    """The pipeline's images, each made alone.

    Both sides make one picture a call: kernels round differently at other batch sizes, by up to
    1.5e-5 in the pictures of diffusers' own batch of two, depending on the processor.
    """
    pipeline = sdxl_pipeline(model, SCHEDULERS[scheduler])
    call = {"guidance_scale": 4.0, "height": 64, "width": 64, "num_inference_steps": steps, "output_type": "pt"} | call
    made = [pipeline(p, generator=g, **call).images for p, g in zip(PROMPTS, generators(), strict=True)]
    return torch.cat(made).permute(0, 2, 3, 1)


def ours(model: DiffusionModel, *, options: SampleOptions = ONE_AT_A_TIME, **call) -> torch.Tensor:
    return sample(model, PROMPTS, seeds=SEEDS, options=options, **call).images


@pytest.mark.parametrize(
    ("scheduler", "steps", "eta"),
    [
        ("ddim", 5, 0.0),
        ("ddim", 7, 1.0),
        ("ddim", 4, 0.5),
        ("ddpm", 6, 0.0),
        ("euler_ancestral", 6, 0.0),
        ("euler", 5, 0.0),
        ("pndm", 6, 0.0),
    ],
)
def test_sdxl_images_equal_the_pipeline(tiny_sdxl, scheduler: str, steps: int, eta: float) -> None:
    want = sdxl_reference(tiny_sdxl, scheduler, steps, eta=eta)
    got = ours(tiny_sdxl, scheduler=scheduler, steps=steps, eta=eta)
    assert (got - want).abs().max() <= ATOL


@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_guidance_rescale_equals_the_pipelines(tiny_sdxl, rescale: float) -> None:
    want = sdxl_reference(tiny_sdxl, "ddim", 4, guidance_scale=7.0, guidance_rescale=rescale)
    options = SampleOptions(guidance_rescale=rescale, at_once=1)
    got = ours(tiny_sdxl, steps=4, guidance_scale=7.0, options=options)
    assert (got - want).abs().max() <= ATOL


def test_size_conditioning_equals_the_pipelines(tiny_sdxl) -> None:
    sizes = {"original_size": (40, 48), "crops_coords_top_left": (8, 4)}
    want = sdxl_reference(tiny_sdxl, "ddim", 4, **sizes)
    assert (want - sdxl_reference(tiny_sdxl, "ddim", 4)).abs().max() > 1e-3  # they mean something to this model
    options = SampleOptions(original_height=40, original_width=48, crop_top=8, crop_left=4, at_once=1)
    got = ours(tiny_sdxl, steps=4, options=options)
    assert (got - want).abs().max() <= ATOL


@pytest.mark.parametrize("scheduler", ["ddim", "euler_ancestral", "dpmpp_2m"])
@pytest.mark.parametrize("denoise", [0.4, 0.75])
def test_image_to_image_equals_the_pipeline(tiny_sdxl, scheduler: str, denoise: float) -> None:
    """diffusers' strength runs int(total * strength) of total steps; ours the last 4 of int(4 / denoise)."""
    start = sample(tiny_sdxl, PROMPTS, steps=4, seeds=[1, 2]).latents
    total = int(4 / denoise)
    pipeline = sdxl_pipeline(tiny_sdxl, SCHEDULERS[scheduler], StableDiffusionXLImg2ImgPipeline)
    call = {"strength": 4 / total, "num_inference_steps": total, "guidance_scale": 4.0, "output_type": "pt"}
    got = ours(tiny_sdxl, scheduler=scheduler, steps=4, latents=start, denoise=denoise)
    for i, generator in enumerate(generators()):
        want = pipeline(PROMPTS[i], image=start[i : i + 1], generator=generator, **call).images.permute(0, 2, 3, 1)
        assert (got[i] - want).abs().max() <= ATOL


@pytest.mark.parametrize("scheduler", ["ddim", "euler_ancestral", "dpmpp_2m"])
def test_inpainting_equals_the_pipeline(tiny_sdxl, scheduler: str) -> None:
    """A mask keeps the left half, and all of a row of latents; where it keeps, the latents are the start's."""
    start = sample(tiny_sdxl, PROMPTS, steps=4, seeds=[1, 2]).latents
    mask = torch.ones(64, 64)
    mask[:, :32] = mask[40:44] = 0
    pipeline = sdxl_pipeline(tiny_sdxl, SCHEDULERS[scheduler], StableDiffusionXLInpaintPipeline)
    call = {"strength": 0.5, "num_inference_steps": 8, "guidance_scale": 4.0, "output_type": "pt"}
    call |= {"mask_image": mask[None, None], "height": 64, "width": 64}
    got = sample(
        tiny_sdxl,
        PROMPTS,
        scheduler=scheduler,
        steps=4,
        seeds=SEEDS,
        latents=start,
        mask=mask,
        denoise=0.5,
        options=ONE_AT_A_TIME,
    )
    kept = mask[::4, ::4] == 0
    assert torch.equal(got.latents[:, :, kept], start[:, :, kept])
    assert (got.latents[:, :, ~kept] - start[:, :, ~kept]).abs().mean() > 0.1
    for i, generator in enumerate(generators()):
        want = pipeline(PROMPTS[i], image=start[i : i + 1], generator=generator, **call).images.permute(0, 2, 3, 1)
        assert (got.images[i] - want).abs().max() <= ATOL


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "euler_ancestral"])
def test_base_to_refiner_equals_the_two_pipelines(tiny_sdxl, scheduler: str) -> None:
    """The hand-off at 0.6 of the noise; the generators go on from the first pipeline to the second."""
    steps, edge = 10, 0.6
    first = sdxl_pipeline(tiny_sdxl, SCHEDULERS[scheduler])
    second = sdxl_pipeline(tiny_sdxl, SCHEDULERS[scheduler], StableDiffusionXLImg2ImgPipeline)
    options = SampleOptions(refiner_start=edge, at_once=1)
    got = ours(tiny_sdxl, scheduler=scheduler, steps=steps, refiner=tiny_sdxl, options=options)
    for i, generator in enumerate(generators()):
        call = {"num_inference_steps": steps, "guidance_scale": 4.0, "generator": generator}
        halfway = first(PROMPTS[i], denoising_end=edge, height=64, width=64, output_type="latent", **call).images
        want = second(PROMPTS[i], image=halfway, denoising_start=edge, output_type="pt", **call).images
        assert (got[i] - want[0].permute(1, 2, 0)).abs().max() <= ATOL


@pytest.fixture(scope="module")
def told_its_guidance(tiny_sdxl) -> DiffusionModel:
    """The small model with a UNet that reads the guidance scale, as LCM-distilled ones do."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(3)
    config = {k: v for k, v in tiny_sdxl.unet.config.items() if not k.startswith("_")}
    unet = UNet2DConditionModel(**config | {"time_cond_proj_dim": 33}).eval()
    assert unet.load_state_dict(tiny_sdxl.unet.state_dict(), strict=False).missing_keys == [
        "time_embedding.cond_proj.weight"
    ]
    return replace(tiny_sdxl, modules={**tiny_sdxl.modules, "unet": unet.requires_grad_(False)})


@pytest.mark.parametrize("scale", [1.0, 5.5])
def test_a_network_that_is_told_its_guidance_equals_the_pipeline(told_its_guidance, monkeypatch, scale: float) -> None:
    want = sdxl_reference(told_its_guidance, "ddim", 4, guidance_scale=scale)
    forward, rows = told_its_guidance.unet.forward, []
    monkeypatch.setattr(
        told_its_guidance.unet, "forward", lambda x, *a, **k: rows.append(len(x)) or forward(x, *a, **k)
    )
    got = ours(told_its_guidance, steps=4, guidance_scale=scale)
    assert (got - want).abs().max() <= ATOL
    assert set(rows) == {1}  # no second half
    other = ours(told_its_guidance, steps=4, guidance_scale=scale + 1)
    assert (got - other).abs().max() > 1e-3


def test_sdxl_with_a_negative_prompt_and_another_size(tiny_sdxl) -> None:
    call = {"negative_prompt": "purple star", "height": 80, "width": 48, "guidance_scale": 2.5}
    want = sdxl_reference(tiny_sdxl, "ddim", 4, **call)
    got = ours(tiny_sdxl, steps=4, **call)
    assert got.shape == (2, 80, 48, 3)
    assert (got - want).abs().max() <= ATOL


def test_sdxl_without_guidance(tiny_sdxl) -> None:
    want = sdxl_reference(tiny_sdxl, "ddim", 4, guidance_scale=1.0)
    got = ours(tiny_sdxl, steps=4, guidance_scale=1.0)
    assert (got - want).abs().max() <= ATOL


class PredictsEpsilon(torch.nn.Module):
    """A network that predicts the clean sample as diffusers' PNDM wants it."""

    def __init__(self, unet: torch.nn.Module, levels: torch.Tensor) -> None:
        super().__init__()
        self.unet, self.config, self.levels = unet, unet.config, levels

    @property
    def device(self) -> torch.device:
        return self.unet.device

    dtype = torch.float32

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> UNet2DOutput:
        level = self.levels[t]
        return UNet2DOutput((x - level.sqrt() * self.unet(x, t).sample) / (1 - level).sqrt())


@pytest.mark.parametrize(("scheduler", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0), ("pndm", 0.0)])
def test_ddpm_images_equal_the_pipeline(tiny_ddpm, scheduler: str, eta: float) -> None:
    steps, seed = 6, 5
    config, unet = dict(tiny_ddpm.scheduler_config), tiny_ddpm.unet
    if scheduler == "pndm" and config["prediction_type"] == "sample":
        config["prediction_type"] = "epsilon"
        unet = PredictsEpsilon(unet, SCHEDULERS["ddpm"].from_config(config).alphas_cumprod)
    noise_schedule = SCHEDULERS[scheduler].from_config(config)
    classes = {"ddim": DDIMPipeline, "ddpm": DDPMPipeline, "pndm": PNDMPipeline}
    pipeline = classes[scheduler](unet=unet, scheduler=noise_schedule)
    pipeline.scheduler = noise_schedule  # DDIMPipeline makes its own
    pipeline.set_progress_bar_config(disable=True)
    extra = {"eta": eta} if scheduler == "ddim" else {}
    want = pipeline(
        generator=torch.Generator().manual_seed(seed), num_inference_steps=steps, output_type="np", **extra
    ).images
    got = sample(tiny_ddpm, scheduler=scheduler, steps=steps, eta=eta, seeds=[seed])
    assert (got.images - torch.from_numpy(want)).abs().max() <= ATOL
