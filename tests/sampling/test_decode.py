"""The VAE: there and back, tiles, overflow."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tastemaker.core.errors import NonFiniteError
from tastemaker.sampling import SampleOptions, sample
from tastemaker.sampling.decode import decode, decode_tiles, encode_images, encode_tiles
from tastemaker.sampling.preview import rough_preview

PROMPT = "a large red heart on a blue background"


def test_pictures_survive_the_way_there_and_back(tiny_sdxl) -> None:
    made = sample(tiny_sdxl, PROMPT, steps=8, seeds=[1])
    back = decode(tiny_sdxl, encode_images(tiny_sdxl, made.images))
    assert (back - made.images).abs().mean() < 0.02


def test_pixels_need_no_vae(tiny_ddpm) -> None:
    images = torch.rand(2, 64, 64, 3)
    assert torch.allclose(decode(tiny_ddpm, encode_images(tiny_ddpm, images)), images, atol=1e-6)


def test_tiles_are_blended_exactly_where_decoding_is_local() -> None:
    """A decoder that only enlarges gives the same pixels whole and in tiles: 80 x 150 latents, 2 x 3 tiles."""
    vae = SimpleNamespace(
        config=SimpleNamespace(block_out_channels=(1, 1, 1)),
        device=torch.device("cpu"),
        dtype=torch.float32,
        decode=lambda z: SimpleNamespace(sample=F.interpolate(z[:, :3], scale_factor=4)),
    )
    latents = torch.randn(2, 4, 80, 150, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(decode_tiles(vae, latents), F.interpolate(latents[:, :3], scale_factor=4))


def test_tiles_are_blended_exactly_where_encoding_is_local() -> None:
    def encode(x: torch.Tensor) -> SimpleNamespace:
        assert x.shape[2] <= 64 * 4 >= x.shape[3]
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: F.avg_pool2d(torch.cat([x, x[:, :1]], 1), 4)))

    config = SimpleNamespace(block_out_channels=(1, 1, 1))
    vae = SimpleNamespace(config=config, device=torch.device("cpu"), dtype=torch.float32, encode=encode)
    pixels = torch.randn(2, 3, 320, 600, generator=torch.Generator().manual_seed(0))
    whole = F.avg_pool2d(torch.cat([pixels, pixels[:, :1]], 1), 4)
    assert whole.shape == (2, 4, 80, 150)
    torch.testing.assert_close(encode_tiles(vae, pixels), whole)


def test_a_large_picture_encoded_in_tiles_is_nearly_the_same(tiny_sdxl) -> None:
    images = sample(tiny_sdxl, PROMPT, steps=8, seeds=[1]).images.tile(1, 5, 6, 1)
    whole, tiled = encode_images(tiny_sdxl, images), encode_images(tiny_sdxl, images, tiled=True)
    assert tiled.shape == whole.shape == (1, 4, 80, 96)
    assert (tiled - whole).abs().mean() < 0.02 * whole.std()


def test_a_large_picture_in_tiles_is_nearly_the_same(tiny_sdxl) -> None:
    """Six real pictures by ten: in a tile the VAE's normalisation sees almost what it sees in the whole."""
    latents = sample(tiny_sdxl, PROMPT, steps=8, seeds=[1]).latents.tile(1, 1, 6, 10)
    whole, tiled = decode(tiny_sdxl, latents), decode(tiny_sdxl, latents, tiled=True)
    assert tiled.shape == whole.shape == (1, 384, 640, 3)
    assert (tiled - whole).abs().mean() < 0.01


def test_a_small_picture_is_one_tile(tiny_sdxl) -> None:
    made = sample(tiny_sdxl, PROMPT, steps=2, seeds=[1])
    tiled = sample(tiny_sdxl, PROMPT, steps=2, seeds=[1], options=SampleOptions(vae_tiling="on"))
    assert (tiled.images - made.images).abs().max() < 1e-5


class Overflowing(torch.nn.Module):
    """A VAE whose decoder gives NaN in every dtype but float32, as SDXL's own does in float16."""

    def __init__(self, vae: torch.nn.Module, always: bool = False) -> None:
        super().__init__()
        self.vae, self.always = vae, always
        self.config = vae.config

    @property
    def dtype(self) -> torch.dtype:
        return self.vae.dtype

    @property
    def device(self) -> torch.device:
        return self.vae.device

    def decode(self, latents: torch.Tensor):
        answer = self.vae.decode(latents)
        if self.always or latents.dtype != torch.float32:
            answer.sample = answer.sample * float("nan")
        return answer


@pytest.mark.parametrize("always", [False, True])
def test_a_vae_that_overflows_is_tried_once_in_float32(always: bool) -> None:
    from dataclasses import replace

    from tastemaker.loaders import load_diffusion_model

    half = load_diffusion_model("tiny-sdxl", dtype=torch.bfloat16, runs_on="cuda")
    broken = replace(half, modules={**half.modules, "vae": Overflowing(half.vae, always)})
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    if always:
        with pytest.raises(NonFiniteError, match="tiny-sdxl"):
            decode(broken, latents)
    else:
        assert torch.isfinite(decode(broken, latents)).all()
    assert half.vae.dtype == torch.bfloat16


def test_a_rough_preview_is_a_picture() -> None:
    seen = rough_preview(torch.randn(2, 4, 8, 6))
    assert seen.shape == (2, 8, 6, 3)
    assert 0 <= seen.min() <= seen.max() <= 1
    assert rough_preview(torch.randn(1, 3, 8, 6)).shape == (1, 8, 6, 3)
