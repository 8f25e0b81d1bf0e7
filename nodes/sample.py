"""Sample and Sample Options: a model and prompts to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..core.settings import MAX_SEED
from ..sampling import SampleOptions, SampleSettings
from ..sampling.settings import MAX_BATCH
from . import host
from .checked import checked
from .inputs import prompts_input, widgets
from .listing import schema
from .wires import CATEGORY, PromptList, TasteModel, TasteOptions, TastePrompts, as_prompts

if TYPE_CHECKING:
    import torch

    from ..loaders import DiffusionModel

MAX_PER_PROMPT = 256


class TastemakerSample(io.ComfyNode):
    """Makes pictures with a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerSample",
            display_name="Sample",
            category=CATEGORY,
            description="Makes a batch of pictures: some for each prompt, each from a seed of its own.",
            inputs=[
                TasteModel.Input("model", tooltip="From Load Taste Model."),
                prompts_input(
                    "From Prompts, or any text. Leave it unconnected for unconditional models.", optional=True
                ),
                io.String.Input(
                    "negative_prompt",
                    default="",
                    tooltip="What should not be in the picture. May stay empty.",
                ),
                io.Int.Input(
                    "images_per_prompt",
                    default=16,
                    min=1,
                    max=MAX_PER_PROMPT,
                    tooltip="Pictures made for each prompt.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED - MAX_BATCH,
                    control_after_generate=True,
                    tooltip="The first picture is made from this seed, the next from seed + 1, and so on. "
                    "The same seed makes the same picture in any batch.",
                ),
                *widgets(SampleSettings),
                io.Image.Input(
                    "image", optional=True, tooltip="A picture to start from, or one for each; denoise says how freely."
                ),
                io.Latent.Input(
                    "latent", optional=True, tooltip="The same as a latent, in place of image. Its mask is kept to."
                ),
                TasteModel.Input(
                    "refiner",
                    optional=True,
                    tooltip="An SDXL refiner that finishes the pictures.",
                ),
                TasteOptions.Input("options", optional=True, tooltip="From Sample Options: what is rarely changed."),
            ],
            outputs=[
                io.Image.Output(display_name="images"),
                TastePrompts.Output(display_name="prompts", tooltip="The prompt and seed of each image."),
                io.Latent.Output(display_name="latents"),
            ],
        )

    @classmethod
    @checked(called={"images": "image", "latents": "latent", "mask": "latent", "seeds": "seed"})
    def execute(
        cls,
        model: DiffusionModel,
        negative_prompt: str,
        images_per_prompt: int,
        seed: int,
        prompts: PromptList | str | None = None,
        image: torch.Tensor | None = None,
        latent: dict[str, Any] | None = None,
        refiner: DiffusionModel | None = None,
        options: SampleOptions | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        from ..sampling import sample

        asked = SampleSettings(**settings)
        texts = _each(as_prompts(prompts).texts, images_per_prompt)
        # the host's LATENT holds what its VAE makes, before the scaling the UNet sees
        with host.loading():
            samples = sample(
                model,
                texts,
                asked,
                negative_prompt=negative_prompt,
                seeds=range(seed, seed + len(texts)),
                images=None if image is None else image.clone(),
                latents=None if latent is None else latent["samples"] * model.latent_scale,
                mask=None if latent is None else latent.get("noise_mask"),
                refiner=refiner,
                options=options,
                progress=host.HostProgress(),
                place=host.in_use,
            )
        latents = {"samples": samples.latents / model.latent_scale}
        return io.NodeOutput(samples.images, PromptList(samples.prompts, samples.seeds), latents)


def _each(texts: Sequence[str], images_per_prompt: int) -> list[str]:
    """Return each text as often as there are pictures of it. Raises InputError for more than one batch holds."""
    if len(texts) * images_per_prompt > MAX_BATCH:
        advice = f"At most {MAX_BATCH} pictures at once, and there are {len(texts):,} prompts."
        raise InputError("images_per_prompt", images_per_prompt, advice)
    return [text for text in texts for _ in range(images_per_prompt)]


class TastemakerSampleOptions(io.ComfyNode):
    """Settings of Sample that are rarely changed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerSampleOptions",
            display_name="Sample Options",
            category=CATEGORY,
            description="Rarely changed settings of Sample: guidance rescale, refiner, SDXL's size conditioning, "
            "tiled VAE, memory and speed. As it comes it changes nothing.",
            inputs=widgets(SampleOptions),
            outputs=[TasteOptions.Output(display_name="options", tooltip="For Sample.")],
        )

    @classmethod
    @checked
    def execute(cls, **options: Any) -> io.NodeOutput:
        return io.NodeOutput(SampleOptions(**options))
