"""`DiffusionModel`: the immutable handle that travels on TASTE_MODEL wires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .architecture import ARCHITECTURES, Architecture, ArchitectureSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .lora.layers import AppliedLora


@dataclass(frozen=True, eq=False)
class DiffusionModel:
    """A diffusion model ready to use. Handles may share modules; using one changes none.

    Attributes:
        name: what the user picked, for messages.
        architecture: `"sdxl"` (text to image, latent), `"sdxl-refiner"` (the same with the second text
            encoder only and an aesthetic score) or `"ddpm"` (unconditional, pixels); `spec` is what is known of it.
        modules: `unet`, and for SDXL `vae`, `text_encoder` (not in refiners), `text_encoder_2`; frozen,
            in eval mode.
        tokenizers: one CLIP tokenizer for each of `text_encoders`, none for DDPM.
        scheduler_config: the model's own scheduler config, `_class_name` included.
        fingerprint: names the weights and configs it was read from.
        zero_empty_prompt: an empty negative prompt is all-zero embeddings, not an encoded "".
        loras: what `with_lora` added, in that order; `lora.applied_loras` merges them while in use.
    """

    name: str
    architecture: Architecture
    modules: Mapping[str, nn.Module]
    tokenizers: tuple[Any, ...]
    scheduler_config: Mapping[str, Any]
    fingerprint: str
    zero_empty_prompt: bool = False
    loras: tuple[AppliedLora, ...] = ()

    @property
    def spec(self) -> ArchitectureSpec:
        """What all models of its architecture have in common."""
        return ARCHITECTURES[self.architecture]

    @property
    def conditional(self) -> bool:
        """Whether prompts mean anything to it."""
        return bool(self.spec.text_encoders)

    @property
    def guidance_embedding(self) -> int | None:
        """Width of the guidance scale as an embedding that the UNet takes (LCM-distilled models); None for others."""
        width = getattr(self.unet.config, "time_cond_proj_dim", None)
        return None if width is None else int(width)

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """Names of the text encoders it has, in the order their features are put side by side."""
        return tuple(self.spec.text_encoders)

    @property
    def unet(self) -> nn.Module:
        return self.modules["unet"]

    @property
    def vae(self) -> nn.Module | None:
        return self.modules.get("vae")

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def channels(self) -> int:
        """C of what the UNet denoises: 4 latent channels, or 3 of pixels."""
        return int(self.unet.config.in_channels)

    @property
    def downscale(self) -> int:
        """Pixels per latent along one side; 1 for models that denoise pixels."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_scale(self) -> float:
        """What the VAE's latents are multiplied by to become what the UNet denoises; 1 for pixels."""
        return 1.0 if self.vae is None else float(self.vae.config.scaling_factor)

    @property
    def size_multiple(self) -> int:
        """Heights and widths must be multiples of this many pixels."""
        return self.downscale * 2 ** (len(self.unet.config.block_out_channels) - 1)

    @property
    def native_size(self) -> tuple[int, int]:
        """(height, width) in pixels the model was trained at."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        return int(height) * self.downscale, int(width) * self.downscale
