"""The Inception network that FID is defined on: Inception-v3 as TensorFlow had it in 2015, with 1008 classes.

Szegedy et al. 2015 (arXiv 1512.00567), as Heusel et al. 2017 (arXiv 1706.08500) use it. The layers are written
down as data below, under the names of the official weight file. It differs from torchvision's network in three
places: averages do not count the border's zeros, the last block takes a maximum in place of an average, and there
are 1008 classes. Legend: B pictures, C H W of the tensor at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from ...core.errors import ModelFileError
from ...loaders.formats.component import read_weights
from ...loaders.formats.weights import fill

SIDE, FEATURES = 299, 2048
FILE_NAMES = (
    "pt_inception-2015-12-05-6726825d.safetensors",
    "pt_inception-2015-12-05-6726825d.pth",
    "weights-inception-2015-12-05-6726825d.safetensors",
    "weights-inception-2015-12-05-6726825d.pth",
)
COMMAND = (
    'curl -L -o "ComfyUI/models/rewards/weights-inception-2015-12-05-6726825d.pth" '
    '"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"'
)
_CLASSES, _EPS = 1008, 1e-3

# (name, channels out, kernel, stride): padded so that the size stays where the stride is 1
Layer: TypeAlias = "tuple[str, int, int | tuple[int, int], int]"
# a path is layers one after the other; a tuple of layers in it is a fork whose results are put side by side
Path_: TypeAlias = "tuple[str | Layer | tuple[Layer, ...], ...]"
_AVERAGE, _MAXIMUM, _SMALLER = "average", "maximum", "smaller"  # pooling, where a path begins with it


def _layer(name: str, out: int, kernel: int | tuple[int, int] = 1, stride: int = 1) -> Layer:
    return name, out, kernel, stride


def _block_a(pooled: int) -> tuple[Path_, ...]:
    triple = (_layer("branch3x3dbl_1", 64), _layer("branch3x3dbl_2", 96, 3), _layer("branch3x3dbl_3", 96, 3))
    return (
        (_layer("branch1x1", 64),),
        (_layer("branch5x5_1", 48), _layer("branch5x5_2", 64, 5)),
        triple,
        (_AVERAGE, _layer("branch_pool", pooled)),
    )


def _block_b() -> tuple[Path_, ...]:
    triple = (_layer("branch3x3dbl_1", 64), _layer("branch3x3dbl_2", 96, 3), _layer("branch3x3dbl_3", 96, 3, 2))
    return (_layer("branch3x3", 384, 3, 2),), triple, (_SMALLER,)


def _block_c(inner: int) -> tuple[Path_, ...]:
    wide, tall = (1, 7), (7, 1)
    long = [_layer(f"branch7x7dbl_{i}", inner, kernel) for i, kernel in ((1, 1), (2, tall), (3, wide), (4, tall))]
    return (
        (_layer("branch1x1", 192),),
        (_layer("branch7x7_1", inner), _layer("branch7x7_2", inner, wide), _layer("branch7x7_3", 192, tall)),
        (*long, _layer("branch7x7dbl_5", 192, wide)),
        (_AVERAGE, _layer("branch_pool", 192)),
    )


def _block_d() -> tuple[Path_, ...]:
    long = [_layer(f"branch7x7x3_{i}", 192, kernel) for i, kernel in ((1, 1), (2, (1, 7)), (3, (7, 1)))]
    return (
        (_layer("branch3x3_1", 192), _layer("branch3x3_2", 320, 3, 2)),
        (*long, _layer("branch7x7x3_4", 192, 3, 2)),
        (_SMALLER,),
    )


def _block_e(pooling: str) -> tuple[Path_, ...]:
    def fork(name: str) -> tuple[Layer, Layer]:
        return _layer(f"{name}a", 384, (1, 3)), _layer(f"{name}b", 384, (3, 1))

    return (
        (_layer("branch1x1", 320),),
        (_layer("branch3x3_1", 384), fork("branch3x3_2")),
        (_layer("branch3x3dbl_1", 448), _layer("branch3x3dbl_2", 384, 3), fork("branch3x3dbl_3")),
        (pooling, _layer("branch_pool", 192)),
    )


# the stem's layers have no padding but one
_STEM: tuple[tuple[str, int, int, int, int], ...] = (  # name, out, kernel, stride, padding
    ("Conv2d_1a_3x3", 32, 3, 2, 0),
    ("Conv2d_2a_3x3", 32, 3, 1, 0),
    ("Conv2d_2b_3x3", 64, 3, 1, 1),
    ("Conv2d_3b_1x1", 80, 1, 1, 0),
    ("Conv2d_4a_3x3", 192, 3, 1, 0),
)
_POOLED_AFTER = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")
_BLOCKS: Mapping[str, tuple[Path_, ...]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _block_b(),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _block_d(),
    "Mixed_7b": _block_e(_AVERAGE),
    "Mixed_7c": _block_e(_MAXIMUM),
}


class _Unit(nn.Module):
    """A convolution, a batch normalisation and a ReLU; `fold` makes the first two one."""

    def __init__(self, into: int, out: int, kernel: int | tuple[int, int], stride: int, padding: Sequence[int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, stride, tuple(padding), bias=False)
        self.bn = nn.BatchNorm2d(out, eps=_EPS)

    def fold(self) -> None:
        """w' = w g / s, b' = b - m g / s, with s the spread: computed in float64."""
        bn = self.bn
        scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
        weight = (self.conv.weight.double() * scale[:, None, None, None]).float()
        shift = (bn.bias.double() - bn.running_mean.double() * scale).float()
        self.conv.weight, self.conv.bias = nn.Parameter(weight, False), nn.Parameter(shift, False)
        self.bn = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class _Block(nn.Module):
    """Paths side by side."""

    def __init__(self, into: int, paths: tuple[Path_, ...]) -> None:
        super().__init__()
        self._paths = paths
        self.out = sum(self._add(into, path) for path in paths)

    def _add(self, into: int, path: Path_) -> int:
        """Make a path's layers; returns the channels that come out of it."""
        for step in path:
            if isinstance(step, str):
                continue
            fork = step if isinstance(step[0], tuple) else (step,)
            for name, out, kernel, stride in fork:
                sides = (kernel, kernel) if isinstance(kernel, int) else kernel
                padding = (0, 0) if stride > 1 else (sides[0] // 2, sides[1] // 2)
                self.add_module(name, _Unit(into, out, sides, stride, padding))
            into = sum(layer[1] for layer in fork)
        return into

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._walk(x, path) for path in self._paths], 1)

    def _walk(self, x: torch.Tensor, path: Path_) -> torch.Tensor:
        for step in path:
            if isinstance(step, str):
                x = _pool(x, step)
            elif isinstance(step[0], tuple):
                x = torch.cat([self.get_submodule(layer[0])(x) for layer in step], 1)
            else:
                x = self.get_submodule(step[0])(x)
        return x


def _pool(x: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == _AVERAGE:
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    return F.max_pool2d(x, 3, stride=2) if kind == _SMALLER else F.max_pool2d(x, 3, stride=1, padding=1)


class Inception(nn.Module):
    """Pictures to the 2048 numbers that FID and KID compare."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for name, out, kernel, stride, padding in _STEM:
            self.add_module(name, _Unit(channels, out, (kernel, kernel), stride, (padding, padding)))
            channels = out
        for name, paths in _BLOCKS.items():
            block = _Block(channels, paths)
            self.add_module(name, block)
            channels = block.out
        self.fc = nn.Linear(channels, _CLASSES)  # stored in the file; FID does not use it

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of pixels from 0 to 255. Shape: (B, 3, 299, 299) -> (B, 2048) float32."""
        x = (pixels - 128) / 128
        for name, *_ in _STEM:
            x = self.get_submodule(name)(x)
            if name in _POOLED_AFTER:
                x = F.max_pool2d(x, 3, stride=2)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3)).float()


def load_inception(path: Path) -> Inception:
    """The official weights, `.pth` (opened `weights_only`) or the same tensors as safetensors, strictly.

    Raises ModelFileError with the names of missing, unexpected or misshapen keys.
    """
    state = read_weights(path, torch.float32)
    with torch.device("meta"):
        network = Inception()
    counters = {k for k in network.state_dict() if k.endswith("num_batches_tracked")}  # old files have none
    state = {**{k: torch.zeros((), dtype=torch.long) for k in counters}, **state}
    fill(network, state, where=path.name)
    if any((v < 0).any() for k, v in state.items() if k.endswith("running_var")):
        raise ModelFileError(f"The weights of {path.name} hold a negative variance. Download the file again.")
    for part in network.modules():
        if isinstance(part, _Unit):
            part.fold()
    return network.requires_grad_(False).eval()


def find_inception(folders: Sequence[Path]) -> Path:
    """The weight file in one of the folders. Raises ModelFileError with the command that gets it."""
    found = next((p for name in FILE_NAMES for folder in folders if (p := Path(folder) / name).is_file()), None)
    if found is None:
        raise ModelFileError(
            f"inception-v3 needs {FILE_NAMES[1]} or {FILE_NAMES[3]} (the same file under two names) in models/rewards, "
            f"which is not there. To get it (0.1 GB), run this beside the ComfyUI folder: {COMMAND}\n"
        )
    return found
