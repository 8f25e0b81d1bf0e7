"""Pictures to pixels on the device: bit-equal to Pillow; with gradients, near it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tastemaker.images.convert import to_pil
from tastemaker.loaders import InputError
from tastemaker.rewards.models.preprocess import (
    crop_geometry,
    passes_vary,
    pil_pixels,
    pillow_crop,
    resized_crop,
    soft_crop,
    soft_fit,
)

SIZES = [(512, 512), (1024, 768), (97, 301), (64, 64), (224, 300), (300, 224), (17, 64), (1, 1), (223, 640), (225, 225)]


def noise(height: int, width: int) -> torch.Tensor:
    images = torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(height * width))
    images[1] = (images[1] > 0.5).float()  # the sharpest edges overshoot, and are clamped between the passes
    return images


def pillow(images: torch.Tensor, size: int, floor: bool) -> np.ndarray:
    return np.stack([np.asarray(resized_crop(to_pil(image), size, floor)) for image in images]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("floor", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_value_equals_pillows(size: tuple[int, int], floor: bool) -> None:
    images = noise(*size)
    assert not passes_vary(*size, 224)
    assert (pillow_crop(images, 224, floor).numpy() == pillow(images, 224, floor)).all()


@pytest.mark.parametrize("target", [32, 64, 225])
def test_other_targets_too(target: int) -> None:
    assert (pillow_crop(noise(150, 111), target).numpy() == pillow(noise(150, 111), target, False)).all()


def test_tall_pictures_made_smaller_are_left_to_pillow() -> None:
    assert passes_vary(1001, 500, 224)  # measured: Pillow 13 resizes their height first, Pillow 10 their width
    assert not passes_vary(1000, 500, 224)
    assert not passes_vary(400, 100, 224)  # made larger: both alike
    assert (pillow_crop(noise(400, 100), 224).numpy() == pillow(noise(400, 100), 224, False)).all()


def test_the_middle_as_torchvision_and_transformers_count_it() -> None:
    # 301 x 97 to a short side of 224: 695 long, 471 cut off; half of it is 235.5
    assert crop_geometry(97, 301, 224) == (224, 695, 0, 236)
    assert crop_geometry(97, 301, 224, floor=True) == (224, 695, 0, 235)


@pytest.mark.parametrize("size", [(1, 257), (257, 1)])
def test_a_picture_too_thin_to_be_resized_is_refused(size: tuple[int, int]) -> None:
    for made in (lambda i: pillow(i, 224, False), lambda i: pillow_crop(i, 224), lambda i: soft_crop(i, 224)):
        with pytest.raises(InputError, match="256 times as long"):
            made(noise(*size))


def test_transformers_crop_is_floored() -> None:
    processors = pytest.importorskip("transformers")
    made = getattr(processors, "CLIPImageProcessorPil", processors.CLIPImageProcessor)()
    images = noise(97, 301)
    pictures = [to_pil(image) for image in images]
    want = made(pictures, return_tensors="pt").pixel_values
    mean, std = tuple(made.image_mean), tuple(made.image_std)
    assert (pil_pixels(pictures, 224, mean, std, floor=True) - want).abs().max() <= 1e-6


def test_the_soft_crop_is_near_and_has_gradients() -> None:
    smooth = torch.linspace(0, 1, 300).view(1, 1, 300, 1).expand(1, 260, 300, 3).clone().requires_grad_()
    soft = soft_crop(smooth, 224)
    assert (soft.detach() * 255 - pillow_crop(smooth, 224)).abs().max() <= 1
    soft.sum().backward()
    assert (smooth.grad[0, 130, 150] > 0).all()


def test_the_whole_picture_fits_with_black_beside_it() -> None:
    fitted = soft_fit(torch.ones(1, 100, 200, 3), 224)  # 112 x 224, 56 rows of black above and below
    assert fitted.shape == (1, 3, 224, 224)
    assert fitted[:, :, :56].abs().max() == 0
    assert fitted[:, :, 168:].abs().max() == 0
    assert (fitted[:, :, 56:168] - 1).abs().max() <= 1e-5
