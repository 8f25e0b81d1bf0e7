"""From a network that scores pixels to a `Reward`: preprocessing, devices, precision, gradients.

Legend: B pictures, H W their size, S the network's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...images.convert import from_pil
from ..reward import Reward
from .preprocess import CLIP_MEAN, CLIP_STD, normalized_pixels, pil_pixels
from .resample import normalized, passes_vary, pillow_crop, soft_crop, soft_fit

if TYPE_CHECKING:
    from PIL import Image

# (normalised pixels (B, 3, S, S), B texts) -> (B,), with gradients
PixelScores = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]


@dataclass(frozen=True)
class PixelNetwork:
    """A network and what it wants to see.

    Attributes:
        module: the network; its device is where pixels go.
        scores: normalised pixels and texts to scores.
        size: pixels along one side of what it sees.
        whole: the whole picture with black beside it, instead of the middle square.
        floor: how the middle is counted (`preprocess.crop_geometry`).
        rgb_first: RGB is made of a picture before it is resized, not after: another result for palettes,
            transparency and two colours.
        settings: what else decides its scores, for the reward's fingerprint.
    """

    module: nn.Module
    scores: PixelScores
    size: int
    whole: bool = False
    floor: bool = False
    rgb_first: bool = False
    settings: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """Scores of images (B, H, W, 3) in [0, 1]."""
        with torch.no_grad():
            return self.scores(self._pixels(images), prompts)

    def picture_score(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> torch.Tensor:
        """Scores of PIL pictures, prepared by Pillow as the references do."""
        with torch.no_grad():
            if self.whole:
                pixels = torch.cat([self._pixels(from_pil(picture)) for picture in pictures])
            else:
                given = [picture.convert("RGB") if self.rgb_first else picture for picture in pictures]
                pixels = pil_pixels(given, self.size, CLIP_MEAN, CLIP_STD, self.floor).to(self.device)
            return self.scores(pixels, prompts)

    def gradient_score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """Scores with gradients to the images."""
        with torch.inference_mode(False), torch.enable_grad():
            # an inference tensor cannot be saved for the way back; a copy can
            given = images.clone() if images.is_inference() else images
            given = given.to(self.device)
            pixels = soft_fit(given, self.size) if self.whole else soft_crop(given, self.size, self.floor)
            return self.scores(normalized(pixels, CLIP_MEAN, CLIP_STD), prompts)

    def _pixels(self, images: torch.Tensor) -> torch.Tensor:
        if self.whole:
            levels = images.detach().float().to(self.device).clamp(0, 1).mul(255).round() / 255.0
            return normalized(soft_fit(levels, self.size), CLIP_MEAN, CLIP_STD)
        if self.device.type == "cpu" or passes_vary(*images.shape[1:3], self.size):
            return normalized_pixels(images, self.size, CLIP_MEAN, CLIP_STD, self.floor).to(self.device)
        return normalized(pillow_crop(images.to(self.device), self.size, self.floor) / 255.0, CLIP_MEAN, CLIP_STD)


def network_reward(network: PixelNetwork, *, modules: Mapping[str, nn.Module] | None = None, **about: Any) -> Reward:
    """A `Reward` of a network; `about` are the reward's other fields."""
    return Reward(
        score=network.score,
        picture_score=network.picture_score,
        gradient_score=network.gradient_score,
        modules=modules or {"network": network.module},
        **about,
    )
