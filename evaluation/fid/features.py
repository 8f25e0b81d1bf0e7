"""Pictures to features: which network reads them, in batches, broken files left out and named.

Legend: N pictures, D features, S the side a network sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import nn

from ...core.assets import asset_folder
from ...core.errors import InputError
from ...core.memory import in_parts
from ...core.progress import Place, Progress, stay
from ...images.decode import PictureError
from ...images.pictures import Pictures
from ...images.prefetch import prefetched
from ...loaders.formats.fingerprint import fingerprint
from ...rewards.models.preprocess import CLIP_MEAN, CLIP_STD, pil_pixels
from ..settings import EXTRACTORS, RESIZES
from .inception_file import FEATURES, SIDE, find_inception, load_inception
from .resize import resize_picture

_BATCH_CPU, _BATCH_GPU = 16, 64


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network that turns pictures into features.

    Attributes:
        name: one of `EXTRACTORS`.
        fingerprint: names its weights.
        resize: how pictures reach its size.
        features: D.
        network: (B, 3, S, S) to (B, D).
        prepare: an 8-bit RGB picture to (3, S, S).
    """

    name: str
    fingerprint: str
    resize: str
    features: int
    network: nn.Module
    prepare: Callable[[Image.Image], torch.Tensor]

    @property
    def about(self) -> dict[str, Any]:
        """Say what must be the same for features to be comparable."""
        return {"extractor": self.name, "fingerprint": self.fingerprint, "resize": self.resize}

    @property
    def key(self) -> str:
        """Name the folder of its features."""
        return f"{self.name}-{self.resize}-{self.fingerprint}"


class _TinyVision(nn.Module):
    """The image tower of tiny-imagereward: the first token, which has seen all of the picture."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.tower(pixels).last_hidden_state[:, 0].float()


def load_extractor(
    name: str,
    *,
    folders: Sequence[Path] = (),
    resize: str = "clean",
    device: torch.device | str | None = None,
) -> Extractor:
    """Load a feature network by name, in float32: half precision moves FID.

    Args:
        name: `"inception-v3"`, what papers use, or `"tiny-vision"`, which ships with the pack and knows only the
            embedded models' world.
        folders: where Inception's file is looked for, such as `ComfyUI/models/rewards`.
        resize: `"clean"` or `"legacy"`, for Inception (`resize.py`); tiny-vision has its own.

    Raises:
        InputError: a name or resizing that does not exist. ModelFileError: no file, or another one.
    """
    if name not in EXTRACTORS:
        raise InputError("features", name, f"Pick one of {', '.join(EXTRACTORS)}.")
    if resize not in RESIZES:
        raise InputError("resize", resize, f"Pick one of {', '.join(RESIZES)}.")
    if name == "inception-v3":
        path = find_inception(folders)
        print_ = fingerprint(path.parent, [path])
        network = load_inception(path)
        return Extractor(
            name, print_, resize, FEATURES, network.to(device or "cpu"), lambda p: resize_picture(p, SIDE, resize)
        )
    return _tiny_vision(device)


def _tiny_vision(device: torch.device | str | None) -> Extractor:
    from ...loaders.formats.weights import read_json
    from ...rewards.models._blip_models import load_imagereward

    folder = asset_folder("tiny-imagereward")
    file = folder / "ImageReward.safetensors"
    whole = load_imagereward(file, torch.float32, read_json(folder / "config.json")["vit"])
    size, width = whole.image_size, int(whole.vision.config.hidden_size)

    def prepare(picture: Image.Image) -> torch.Tensor:
        return pil_pixels([picture], size, CLIP_MEAN, CLIP_STD)[0]

    network = _TinyVision(whole.vision).to(device or "cpu").eval()
    return Extractor("tiny-vision", fingerprint(folder, [file]), "crop", width, network, prepare)


class FeatureRows(NamedTuple):
    """What was read of N pictures.

    Attributes:
        features: float32 (K, D) of those that could be read.
        kept: their K indices among the N, in order.
        broken: (index, why) of the others.
    """

    features: torch.Tensor
    kept: tuple[int, ...]
    broken: tuple[tuple[int, str], ...]


def read_features(
    pictures: Pictures,
    extractor: Extractor,
    *,
    batch_size: int = 0,
    place: Place = stay,
    progress: Progress | None = None,
) -> FeatureRows:
    """Read pictures of any sizes.

    Args:
        batch_size: pictures at once; 0 is 16 on a CPU, 64 on a GPU; out of memory halves it.
        place: makes the network ready to run.
        progress: counts the pictures read; what it raises stops the reading.
    """
    kept: list[int] = []
    broken: list[tuple[int, str]] = []
    found: list[torch.Tensor] = []
    progress = progress or Progress()
    progress.phase("reading", len(pictures))
    with place([extractor.network]), torch.no_grad(), ExitStack() as stack:
        device = next(extractor.network.parameters()).device
        size = batch_size or (_BATCH_CPU if device.type == "cpu" else _BATCH_GPU)
        starts = [range(first, min(first + size, len(pictures))) for first in range(0, len(pictures), size)]
        batches = prefetched(lambda i: _ready(pictures, i, extractor), starts)
        for places, ready in stack.enter_context(closing(batches)):
            good = []
            for i, one in zip(places, ready, strict=True):
                if isinstance(one, str):
                    broken.append((i, one))
                else:
                    kept.append(i)
                    good.append(one)
            if good:
                found.append(_compute(extractor, torch.stack(good), device))
            progress.advance(len(ready))
    features = torch.cat(found) if found else torch.empty(0, extractor.features)
    return FeatureRows(features, tuple(kept), tuple(broken))


def _compute(extractor: Extractor, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    def work(rows: slice) -> torch.Tensor:
        return extractor.network(pixels[rows].to(device)).float().cpu()

    return torch.cat(
        list(in_parts(len(pixels), len(pixels), work, what=f"reading with {extractor.name}", each="one picture"))
    )


def _ready(pictures: Pictures, i: int, extractor: Extractor) -> torch.Tensor | str:
    try:
        return extractor.prepare(pictures.decode(i))
    except PictureError as e:
        return str(e)
