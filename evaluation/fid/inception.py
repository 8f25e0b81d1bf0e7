"""The Inception network that FID is defined on: Inception-v3 as TensorFlow had it in 2015, with 1008 classes.

Szegedy et al. 2015 (arXiv 1512.00567), as Heusel et al. 2017 (arXiv 1706.08500) use it. It is torchvision's network,
whose layers have the names of the official weight file, but for three things: averages do not count the border's
zeros, the last block takes a maximum in place of an average, and there are 1008 classes.

Only here is torchvision imported: import this module where it is used. Legend: B pictures, C H W of the tensor at hand.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

_CLASSES = 1008


def _average(x: torch.Tensor) -> torch.Tensor:
    """Average each 3 x 3, at the border what there is of it: torchvision's blocks divide by 9 there too."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class FIDInceptionA(InceptionA):
    """Mixed_5b to 5d. Shape: (B, C, 35, 35) -> (B, 224 + pool_features, 35, 35)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        paths = [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(_average(x)),
        ]
        return torch.cat(paths, 1)


class FIDInceptionC(InceptionC):
    """Mixed_6b to 6e. Shape: (B, 768, 17, 17) -> the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        paths = [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
            self.branch_pool(_average(x)),
        ]
        return torch.cat(paths, 1)


class FIDInceptionE_1(InceptionE):
    """Mixed_7b. Shape: (B, 1280, 8, 8) -> (B, 2048, 8, 8)."""

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """Pool what the last path begins with."""
        return _average(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        paths = [
            self.branch1x1(x),
            *(self.branch3x3_2a(single), self.branch3x3_2b(single)),
            *(self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)),
            self.branch_pool(self.pool(x)),
        ]
        return torch.cat(paths, 1)


class FIDInceptionE_2(FIDInceptionE_1):
    """Mixed_7c, with the maximum. Shape: (B, 2048, 8, 8) -> the same."""

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """Pool what the last path begins with."""
        return F.max_pool2d(x, 3, stride=1, padding=1)


class Inception(Inception3):
    """Pictures to the 2048 numbers that FID and KID compare, once `for_features` has been called."""

    def __init__(self) -> None:
        blocks = [BasicConv2d, FIDInceptionA, InceptionB, FIDInceptionC, InceptionD, FIDInceptionE_1, InceptionAux]
        super().__init__(_CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
        self.Mixed_7c = FIDInceptionE_2(2048)

    def for_features(self) -> Inception:
        """Leave out the classes, and make every convolution and its batch normalisation one, computed in float64."""
        self.fc = nn.Identity()
        for unit in [part for part in self.eval().modules() if isinstance(part, BasicConv2d)]:
            unit.conv = fuse_conv_bn_eval(unit.conv.double(), unit.bn.double()).float()
            unit.bn = nn.Identity()
        return self.requires_grad_(False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features of pixels from 0 to 255. Shape: (B, 3, 299, 299) -> (B, 2048) float32."""
        return super().forward((pixels - 128) / 128).float()
