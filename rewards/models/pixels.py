"""A network that scores pixels: what it is shown, by Pillow's arithmetic on every device, and with gradients.

Legend: B images, H W their size, S the network's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from ...images.convert import from_pil, to_pil
from .preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    Channels,
    normalized,
    passes_vary,
    pil_pixels,
    pillow_crop,
    soft_crop,
    soft_fit,
)

if TYPE_CHECKING:
    from PIL import Image

    from ._text import TextReader

# (normalized pixels (B, 3, S, S), B texts) -> (B,), with gradients
PixelScores = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]


@dataclass(frozen=True)
class PixelNetwork:
    """A network and what it wants to see: a reward's `Scorer`.

    Attributes:
        module: the network; its device is where pixels go.
        scores: normalized pixels and texts to scores.
        size: pixels along one side of what it sees.
        mean, std: of each channel, for normalizing.
        view: the middle square (`"crop"`), or the whole image with black beside it (`"fit"`).
        floor: the middle is counted as transformers' image processors do, not as torchvision (`crop_geometry`).
        rgb_first: RGB is made of an image before it is resized, not after: another result for palettes,
            transparency and two colours.
        texts: how it reads prompts; None: it reads none.
        features: normalized pixels to what its encoder makes of them, (B, D).
    """

    module: nn.Module
    scores: PixelScores
    size: int
    mean: Channels = CLIP_MEAN
    std: Channels = CLIP_STD
    view: Literal["crop", "fit"] = "crop"
    floor: bool = False
    rgb_first: bool = False
    texts: TextReader | None = None
    features: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The networks, for a memory manager."""
        return {"network": self.module}

    @property
    def settings(self) -> tuple[str, ...]:
        """What else decides its scores, for a reward's fingerprint."""
        return ("RGB first",) * self.rgb_first + (self.texts.settings if self.texts is not None else ())

    @property
    def overflow(self) -> Callable[[str], list[str]] | None:
        """What to say of a prompt that it does not read whole; None where it reads none."""
        return self.texts.overflow if self.texts is not None else None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.module.parameters()).device

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """Score images (B, H, W, 3) in [0, 1]: (B,)."""
        with torch.no_grad():
            return self.scores(self._pixels(images), prompts)

    def picture_score(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> torch.Tensor:
        """Score B PIL images, prepared by Pillow as the references do: (B,)."""
        with torch.no_grad():
            if self.view == "fit":
                pixels = torch.cat([self._pixels(from_pil(picture)) for picture in pictures])
            else:
                given = [picture.convert("RGB") if self.rgb_first else picture for picture in pictures]
                pixels = pil_pixels(given, self.size, self.mean, self.std, self.floor).to(self.device)
            return self.scores(pixels, prompts)

    def gradient_score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """Score images with gradients that reach them: (B, H, W, 3) in [0, 1] -> (B,)."""
        with torch.inference_mode(False), torch.enable_grad():
            # an inference tensor cannot be saved for the backward pass; a copy can
            given = images.clone() if images.is_inference() else images
            given = given.to(self.device)
            pixels = soft_fit(given, self.size) if self.view == "fit" else soft_crop(given, self.size, self.floor)
            return self.scores(normalized(pixels, self.mean, self.std), prompts)

    @property
    def embed(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What its encoder makes of images, with gradients where they are enabled: (B, H, W, 3) -> (B, D)."""
        features = self.features
        if features is None:
            return None

        def embedded(images: torch.Tensor) -> torch.Tensor:
            given = images.to(self.device)
            pixels = soft_fit(given, self.size) if self.view == "fit" else soft_crop(given, self.size, self.floor)
            return features(normalized(pixels, self.mean, self.std)).float()

        return embedded

    def _pixels(self, images: torch.Tensor) -> torch.Tensor:
        if self.view == "fit":
            levels = images.detach().float().to(self.device).clamp(0, 1).mul(255).round() / 255.0
            return normalized(soft_fit(levels, self.size), self.mean, self.std)
        if self.device.type == "cpu" or passes_vary(images.shape[1], images.shape[2], self.size):
            pictures = [to_pil(image) for image in images]
            return pil_pixels(pictures, self.size, self.mean, self.std, self.floor).to(self.device)
        if (
            images.device.type == "cpu" and self.device.type == "cuda"
        ):  # into memory that the card reads by itself: 12 MB a picture of 1024 px
            images = images.pin_memory()
        pixels = pillow_crop(images.to(self.device, non_blocking=True), self.size, self.floor) / 255.0
        return normalized(pixels, self.mean, self.std)
