"""`DiffusionModel`: the immutable handle that travels on TASTE_MODEL wires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .lora.apply import AppliedLora, Lora

Architecture = Literal["sdxl", "sdxl-refiner", "ddpm"]


@dataclass(frozen=True, eq=False)
class DiffusionModel:
    """A diffusion model ready to use. Handles may share modules; using one changes none.

    Attributes:
        name: what the user picked, for messages.
        architecture: `"sdxl"` (text to image, latent), `"sdxl-refiner"` (the same with the second text
            encoder only and an aesthetic score) or `"ddpm"` (unconditional, pixels).
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

    def with_lora(self, lora: Lora, strength: float = 1.0, strength_text: float | None = None) -> DiffusionModel:
        """A new handle that also uses `lora`; it shares all modules, and this one stays as it is.

        Args:
            lora: from `read_lora`; several may be added one after the other.
            strength: how strongly the UNet takes it, -20 to 20; 0 is not at all.
            strength_text: the same for the text encoders; None is `strength`.

        Raises:
            InputError: a strength outside its range.
            ModelFileError: the LoRA does not fit this model.
        """
        from .lora.apply import with_lora

        return with_lora(self, lora, strength, strength_text)

    @property
    def conditional(self) -> bool:
        """Whether prompts mean anything to it."""
        return self.architecture != "ddpm"

    @property
    def guidance_embedding(self) -> int | None:
        """Width in which the UNet itself is told the guidance scale (LCM-distilled models); None for all others."""
        width = getattr(self.unet.config, "time_cond_proj_dim", None)
        return None if width is None else int(width)

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """Names of the text encoders it has, in the order their features are put side by side."""
        return tuple(name for name in ("text_encoder", "text_encoder_2") if name in self.modules)

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
