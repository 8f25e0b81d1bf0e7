"""Why a picture scores as it does: what its score would be if one named attribute were as usual among its fellows.

A reward is asked, not modelled: the picture is made as bright, warm, ... as its group usually is, nothing else of it
changes, and the difference of the two scores is what that attribute did. It works for any reward. Attributes of which
no such edit is known (where the subject is) are left out. Legend: H W a picture's size, A attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange

from .attributes import ATTRIBUTES, SIDE, attributes

if TYPE_CHECKING:
    from ..rewards import Reward

_LOOKED_AT = 256  # pixels of the copy on which the strength of an edit is found
_HALVINGS = 14
_SAME = 1e-4  # attributes nearer than this are the same


class Reason(NamedTuple):
    """One attribute: what the picture is more than its group, and how much that raised its score (below 0: lowered)."""

    attribute: str
    words: str
    effect: float


def reasons(reward: Reward, picture: torch.Tensor, prompt: str, own: torch.Tensor, usual: torch.Tensor) -> list[Reason]:
    """Say what raised and lowered a picture's score, the strongest first.

    Args:
        reward: asked once, for the picture and one edit of it an attribute.
        picture: (H, W, 3) in [0, 1].
        prompt: the picture's.
        own, usual: (A,) the picture's attributes, and the mean of its group's, all of copies of one size: a smaller
            one is softer.

    Raises as the reward.
    """
    off = usual - own
    names = [name for name, place in _PLACES.items() if name in _EDITS and abs(off[place]) > _SAME]
    seen = attributes(picture[None])[0].cpu()
    edits = [edited(picture, name, float((seen + off)[_PLACES[name]])) for name in names]
    scores = reward.silent(torch.stack([picture, *edits]), prompt)
    found = []
    for name, score in zip(names, scores[1:].tolist(), strict=True):
        words = ATTRIBUTES[name][0 if off[_PLACES[name]] < 0 else 1]
        found.append(Reason(name, words, float(scores[0]) - score))
    return sorted(found, key=lambda one: -abs(one.effect))


def edited(picture: torch.Tensor, name: str, target: float) -> torch.Tensor:
    """Return a picture (H, W, 3) with one attribute brought to `target`, or as near as its pixels allow.

    `name` is one of `EDITED`. The strength is found by halving: every edit's attribute rises with it.
    """
    change, low, high = _EDITS[name]
    pixels = rearrange(picture, "h w c -> 1 c h w").float()
    small = pixels
    if max(picture.shape[:2]) > _LOOKED_AT:
        scale = _LOOKED_AT / max(picture.shape[:2])
        size = [max(1, round(side * scale)) for side in picture.shape[:2]]
        small = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    place = _PLACES[name]
    target -= float((attributes(picture[None]) - attributes(rearrange(small, "1 c h w -> 1 h w c")))[0, place])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        made = rearrange(change(small, middle).clamp(0, 1), "1 c h w -> 1 h w c")
        if float(attributes(made)[0, place]) < target:
            low = middle
        else:
            high = middle
    return rearrange(change(pixels, (low + high) / 2).clamp(0, 1), "1 c h w -> h w c")


def _light(pixels: torch.Tensor) -> torch.Tensor:
    red, green, blue = pixels.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


def _tinted(*by: float) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """Return an edit that shifts red, green and blue, as bright as before."""
    shift = torch.tensor(by).view(1, 3, 1, 1)
    shift = shift - _light(shift)
    return lambda pixels, k: pixels + k * shift.to(pixels.device)


def _brighter(pixels: torch.Tensor, k: float) -> torch.Tensor:
    return pixels + k


def _contrast(pixels: torch.Tensor, k: float) -> torch.Tensor:
    mean = _light(pixels).mean()
    return mean + (pixels - mean) * (1 + k)


def _saturated(pixels: torch.Tensor, k: float) -> torch.Tensor:
    light = _light(pixels)
    return light + (pixels - light) * (1 + k)


def _sharper(pixels: torch.Tensor, k: float) -> torch.Tensor:
    """Strengthen or take away what is finer than half of what the attribute looks at."""
    size = pixels.shape[2:]
    coarse = F.interpolate(pixels, (SIDE // 2, SIDE // 2), mode="bilinear", antialias=True, align_corners=False)
    soft = F.interpolate(coarse, size, mode="bicubic", align_corners=False)
    return soft + (pixels - soft) * (1 + k)


_PLACES = {name: i for i, name in enumerate(ATTRIBUTES)}
# attribute -> (pixels (1, 3, H, W) and strength to pixels, the least and the greatest strength)
_EDITS: dict[str, tuple[Callable[[torch.Tensor, float], torch.Tensor], float, float]] = {
    "brightness": (_brighter, -1.0, 1.0),
    "warmth": (_tinted(1.0, 0.0, -1.0), -1.0, 1.0),
    "greenness": (_tinted(-0.5, 1.0, -0.5), -1.0, 1.0),
    "contrast": (_contrast, -1.0, 4.0),
    "saturation": (_saturated, -1.0, 4.0),
    "sharpness": (_sharper, -1.0, 4.0),
}
EDITED = tuple(_EDITS)
