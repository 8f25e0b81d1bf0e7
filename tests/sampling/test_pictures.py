"""Whole pictures of every scheduler against diffusers' own pipelines, for every timestep spacing.

One picture at a time, so that both sides use the same kernels: equal to 1e-5 of the range of pixels.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import diffusers
import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, PNDMPipeline, UNet2DModel

from scripts.reference import sdxl_pipeline
from tastemaker.loaders import DiffusionModel
from tastemaker.sampling import sample
from tests.sampling.test_schedules import CHURCH, REFERENCES, SPACINGS

PROMPT, SEED, ATOL = "a large red heart on a blue background", 3, 1e-5
STEPS = 7  # does not divide 1000: trailing spacing is then uneven
pytestmark = pytest.mark.filterwarnings("ignore:Should have t:UserWarning")


def respaced(model: DiffusionModel, **change: object) -> DiffusionModel:
    """The same model with another scheduler config."""
    return replace(model, scheduler_config={**model.scheduler_config, **change})


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("name", "eta"), [("ddim", 1.0), *((name, 0.0) for name in REFERENCES)])
def test_sdxl_pictures_equal_the_pipelines(tiny_sdxl, name: str, eta: float, spacing: str) -> None:
    model = respaced(tiny_sdxl, timestep_spacing=spacing)
    cls, options = REFERENCES[name]
    pipeline = sdxl_pipeline(model, getattr(diffusers, cls))
    if name == "dpmpp_sde":
        options = {"noise_sampler_seed": SEED}
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **options)
    want = pipeline(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        eta=eta,
        generator=torch.Generator().manual_seed(SEED),
        height=64,
        width=64,
        output_type="pt",
    ).images.permute(0, 2, 3, 1)
    got = sample(model, PROMPT, scheduler=name, steps=STEPS, guidance_scale=4.0, eta=eta, seeds=[SEED])
    assert (got.images - want).abs().max() <= ATOL


def unconditional(prediction_type: str, spacing: str) -> DiffusionModel:
    """A random UNet2DModel with the church models' blocks and noise schedule."""
    torch.manual_seed(7)
    unet = UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
    config = {**CHURCH, "prediction_type": prediction_type, "timestep_spacing": spacing}
    return DiffusionModel(
        name="random",
        architecture="ddpm",
        modules=MappingProxyType({"unet": unet.eval().requires_grad_(False)}),
        tokenizers=(),
        scheduler_config=config,
        fingerprint="random",
    )


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0), ("pndm", 0.0)])
def test_unconditional_pictures_equal_the_pipelines(name: str, eta: float, spacing: str, prediction_type: str) -> None:
    model = unconditional(prediction_type, spacing)
    scheduler = getattr(diffusers, REFERENCES[name][0]).from_config(dict(model.scheduler_config))
    cls, extra = {"ddim": (DDIMPipeline, {"eta": eta}), "ddpm": (DDPMPipeline, {}), "pndm": (PNDMPipeline, {})}[name]
    pipeline = cls(unet=model.unet, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(SEED)
    want = pipeline(generator=generator, num_inference_steps=STEPS, output_type="np", **extra).images
    got = sample(model, scheduler=name, steps=STEPS, eta=eta, seeds=[SEED])
    assert (got.images - torch.from_numpy(want)).abs().max() <= ATOL
