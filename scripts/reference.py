"""The references that ours is compared with, by tests and benchmarks."""

from __future__ import annotations

from tastemaker.loaders import DiffusionModel


def sdxl_pipeline(model: DiffusionModel, scheduler_class: type, pipeline_class: type | None = None):
    """diffusers' own pipeline around a model's modules, its scheduler made from the model's config."""
    from diffusers import StableDiffusionXLPipeline

    pipeline = (pipeline_class or StableDiffusionXLPipeline)(
        vae=model.modules["vae"],
        text_encoder=model.modules["text_encoder"],
        text_encoder_2=model.modules["text_encoder_2"],
        tokenizer=model.tokenizers[0],
        tokenizer_2=model.tokenizers[1],
        unet=model.unet,
        scheduler=scheduler_class.from_config(dict(model.scheduler_config)),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
