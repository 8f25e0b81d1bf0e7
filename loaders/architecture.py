"""What the architectures are, one entry each: their parts, their latents, how their UNets are conditioned.

Whatever differs between architectures by kind is read from here; what differs from model to model (widths, the
size it was trained at) is in the modules' own configs. A new architecture begins with its entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .folder.schedulers import BETA_SCHEDULERS

Architecture = Literal["sdxl", "sdxl-refiner", "ddpm"]
Component = tuple[str, tuple[str, ...]]  # library, and the classes of it that are read


@dataclass(frozen=True)
class ArchitectureSpec:
    """One architecture.

    Attributes:
        name: as a `DiffusionModel` has it.
        about: what it is for, in words.
        pipelines: the classes of diffusers that name it in a `model_index.json`.
        components: the parts of a model folder: name to library and classes.
        text_encoders: encoder to its tokenizer, in the order in which their features are put side by side.
        latent_scale: what latents are multiplied by for the UNet, where no config says it; None: it denoises pixels.
        size_numbers: of SDXL's size conditioning (Podell et al. 2023, arXiv 2307.01952, sec. 2.2); 0: none.
        refines: it goes on from another model's latents, and the last of its size numbers is an aesthetic score.
        zero_empty_prompt: an empty negative prompt is zeros, unless a folder's index says otherwise.
        lora_components: the parts that a LoRA can change.
        beside_index: component to its config, where a folder may have it beside the index.
    """

    name: Architecture
    about: str
    pipelines: tuple[str, ...]
    components: Mapping[str, Component]
    text_encoders: Mapping[str, str] = field(default_factory=dict)
    latent_scale: float | None = None
    size_numbers: int = 0
    refines: bool = False
    zero_empty_prompt: bool = False
    lora_components: tuple[str, ...] = ("unet",)
    beside_index: Mapping[str, str] = field(default_factory=dict)


_SCHEDULER: Component = ("diffusers", BETA_SCHEDULERS)
_TOKENIZER: Component = ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast"))
_SDXL_SCALE = 0.13025
_REFINER_PARTS: dict[str, Component] = {
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
    "text_encoder_2": ("transformers", ("CLIPTextModelWithProjection",)),
    "tokenizer_2": _TOKENIZER,
    "scheduler": _SCHEDULER,
}
_SDXL_PIPELINES = ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline")

_SPECS = (
    ArchitectureSpec(
        "sdxl",
        about="text to image, SDXL architecture",
        pipelines=_SDXL_PIPELINES,
        components=_REFINER_PARTS | {"text_encoder": ("transformers", ("CLIPTextModel",)), "tokenizer": _TOKENIZER},
        text_encoders={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
        latent_scale=_SDXL_SCALE,
        size_numbers=6,  # original size, crop corner, target size
        zero_empty_prompt=True,
        lora_components=("unet", "text_encoder", "text_encoder_2"),
    ),
    ArchitectureSpec(
        "sdxl-refiner",
        about="SDXL refiner: finishes the pictures of another SDXL model",
        pipelines=_SDXL_PIPELINES,
        components=_REFINER_PARTS,
        text_encoders={"text_encoder_2": "tokenizer_2"},
        latent_scale=_SDXL_SCALE,
        size_numbers=5,  # original size, crop corner, aesthetic score
        refines=True,
        lora_components=("unet", "text_encoder_2"),
    ),
    ArchitectureSpec(
        "ddpm",
        about="unconditional, no prompts",
        pipelines=("DDPMPipeline", "DDIMPipeline", "PNDMPipeline"),
        components={"unet": ("diffusers", ("UNet2DModel",)), "scheduler": _SCHEDULER},
        # the oldest ones have the files of both parts beside the index
        beside_index={"unet": "config.json", "scheduler": "scheduler_config.json"},
    ),
)
ARCHITECTURES: Mapping[Architecture, ArchitectureSpec] = {spec.name: spec for spec in _SPECS}
