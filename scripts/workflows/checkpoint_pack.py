"""A custom node for servers of tests and templates: tiny-sdxl as ComfyUI's own MODEL, CLIP and VAE.

Core's loader knows SDXL by its full size only. What comes out here is sampled by core's KSampler, encoded by core's
CLIPTextEncode and decoded by core's VAEDecode.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
from torch import nn

SIDE = 64  # pixels: the size of the pictures that tiny-sdxl has learned


def _ours(name: str) -> Any:
    """Return a module of the pack, under the name the host has given the pack."""
    known = next(n for n in sys.modules if n.endswith("tastemaker.nodes.rank"))
    return importlib.import_module(known.removesuffix("nodes.rank") + name)


class TinyUNet(nn.Module):
    """The network as the host's sampler calls it: x (B, 4, h, w), t (B,), context (B, L, D), pooled y (B, D2)."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.dtype = unet.float(), torch.float32

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, y: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        sizes = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]], dtype=x.dtype).expand(len(x), -1)
        return self.unet(x, t, context, added_cond_kwargs={"text_embeds": y, "time_ids": sizes}).sample


class TinyClip:
    """The text encoders as core's CLIPTextEncode calls them."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str) -> list[Any]:
        (encoded,) = _ours("sampling.prompts").encode_prompts(self.model, [text])
        return [[encoded.context[None].float(), {"pooled_output": encoded.pooled[None].float()}]]


class TinyVae:
    """The VAE as core's VAEDecode calls it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return _ours("sampling.decode").decode(self.model, latents * self.model.latent_scale)


def _host_model(model: Any) -> Any:
    """Return the host's own MODEL around the network."""
    import comfy.conds
    import comfy.model_base
    import comfy.model_management as memory
    import comfy.model_patcher
    import comfy.supported_models_base

    class TinyModel(comfy.model_base.BaseModel):
        def encode_adm(self, **given: Any) -> torch.Tensor:
            return given["pooled_output"]

    config = comfy.supported_models_base.BASE({"disable_unet_model_creation": True, "in_channels": 4})
    config.latent_format.scale_factor = model.latent_scale
    made = TinyModel(config)
    made.diffusion_model = TinyUNet(model.unet)
    return comfy.model_patcher.ModelPatcher(made, memory.get_torch_device(), memory.unet_offload_device())


class TestTinyCheckpoint:
    """Stands where CheckpointLoaderSimple stood, whatever file was chosen there."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION, CATEGORY = "load", "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"ckpt_name": ("STRING", {"default": ""})}}

    def load(self, ckpt_name: str) -> tuple[Any, ...]:
        model = _ours("loaders").load_diffusion_model("tiny-sdxl", dtype=torch.float32)
        return _host_model(model), TinyClip(model), TinyVae(model)


NODE_CLASS_MAPPINGS = {"TestTinyCheckpoint": TestTinyCheckpoint}
