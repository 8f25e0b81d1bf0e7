"""The network as the sampling loop sees it: guidance, size conditioning, optimizations inside."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from ..loaders.model import DiffusionModel
from .graphs import Graphed
from .prompts import Conditioning, Encoded, stack
from .settings import SampleOptions
from .speed import ReusedDepth, cached_text, compiled_blocks

_LIVE_TENSORS = 6  # activations alive at the UNet's widest place, in tensors of that place's size
_BUSY_AREA = 32 * 128 * 128  # latents of 32 rows of 1024 px
FAST_GUIDED_SHARE = 0.6  # of a `fast` run that is guided; the rest runs on the prompt alone


def guide(unguided: torch.Tensor, conditioned: torch.Tensor, scale: float, rescale: float = 0.0) -> torch.Tensor:
    """Apply classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598), rescaled.

    output = u + scale (c - u). With `rescale` above 0 its standard deviation is pulled towards that of
    c by that share (Lin et al. 2023, arXiv 2305.08891, eq. 15 and 16). Shape: all (B, C, H, W).
    """
    output = unguided + scale * (conditioned - unguided)
    if rescale == 0.0:
        return output
    over = tuple(range(1, output.ndim))
    rescaled = output * (conditioned.std(dim=over, keepdim=True) / output.std(dim=over, keepdim=True))
    return rescale * rescaled + (1 - rescale) * output


def size_ids(model: DiffusionModel, height: int, width: int, options: SampleOptions, *, negative: bool) -> list[float]:
    """Return SDXL's size conditioning of one row, 6 numbers, or 5 for a refiner.

    Original size, crop corner, then target size (Podell et al. 2023, arXiv 2307.01952, sec. 2.2), or
    the refiner's aesthetic score, which is low for the row that guidance leads away from.
    """
    row = [options.original_height or height, options.original_width or width, options.crop_top, options.crop_left]
    if model.spec.refines:
        return [*row, options.negative_aesthetic_score if negative else options.aesthetic_score]
    return [*row, height, width]


def unet_bytes(model: DiffusionModel, height: int, width: int, rows: int) -> int:
    """Estimate the working memory of one UNet call on `rows` rows, weights not counted."""
    area = (height // model.downscale) * (width // model.downscale)
    return rows * area * max(model.unet.config.block_out_channels) * _LIVE_TENSORS * model.dtype.itemsize


def most_at_once(model: DiffusionModel, height: int, width: int, rows_each: int) -> int:
    """Return how many pictures keep a GPU busy in one UNet call: 32 rows at 1024 px, more of smaller ones.

    By count the matrix units are full at 16 rows of 1024 px. `rows_each` is 2 with guidance, else 1.
    """
    area = (height // model.downscale) * (width // model.downscale)
    rows = min(256, max(32, _BUSY_AREA // max(1, area)))
    return max(1, rows // rows_each)


def is_guided(model: DiffusionModel, scale: float) -> bool:
    """Return whether each picture takes a second, unguided row: not at scale 1, nor for guidance-distilled UNets.

    This is the one place that decides it: a `Network` is guided where it is given a negative prompt.
    """
    return model.conditional and scale > 1.0 and model.guidance_embedding is None


def guidance_embedding(scale: float, width: int) -> torch.Tensor:
    """Return the guidance scale as an embedding, for guidance-distilled UNets: (1, width) float32.

    Sines and cosines of 1000 (scale - 1), as diffusers' `get_guidance_scale_embedding` has them (Meng et al. 2023,
    arXiv 2210.03142; Luo et al. 2023, arXiv 2310.04378).
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = torch.tensor([scale - 1]) * 1000.0 * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()]), (0, width % 2))[None]


class Network:
    """A UNet as a function of (x_t, t, share of the run done), for one set of rows.

    Use it in a `with` block: the optimizations are switched on in it and off after it. With a negative prompt it is
    guided: `is_guided` says whether to give one. Float32 in and
    out, shapes (B, C, H, W); the arithmetic of guidance is float32. No call waits for the device.
    """

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[Encoded],
        negative: Encoded | None,
        *,
        guidance_scale: float,
        size: tuple[int, int],
        options: SampleOptions,
    ) -> None:
        self._model, self._unet, self._options = model, model.unet, options
        self._scale = guidance_scale
        width = model.guidance_embedding
        self._guided = negative is not None
        self._scale_embedding = (
            None if width is None else guidance_embedding(guidance_scale, width).to(model.device, model.dtype)
        )
        self._count = len(prompts)
        self._cleanup = ExitStack()
        self._evaluate = self._unet
        self._graphs: dict[bool, Graphed] = {}
        self._conditioning: Conditioning | None = None
        self._added = torch.empty(0)
        if model.conditional:
            rows = [*([negative] * self._count if self._guided else ()), *prompts]
            text = stack(rows, model.device)  # a UNet may run in another format than the encoders
            self._conditioning = text._replace(context=text.context.to(model.dtype), pooled=text.pooled.to(model.dtype))
            ids = [size_ids(model, *size, options, negative=True)] * (len(rows) - self._count)
            ids += [size_ids(model, *size, options, negative=False)] * self._count
            self._added = torch.tensor(ids, dtype=model.dtype, device=model.device)

    def __enter__(self) -> Network:
        self._cleanup.callback(self._graphs.clear)  # they hold the memory of all that lies between their kernels
        if self._options.speed != "exact":
            self._cleanup.enter_context(compiled_blocks(self._unet))
        if self._conditioning is not None:
            self._cleanup.enter_context(cached_text(self._unet, self._conditioning.context))
            if self._options.speed == "fast":
                self._evaluate = self._cleanup.enter_context(ReusedDepth(self._unet))
        return self

    def __exit__(self, *exception: Any) -> bool | None:
        return self._cleanup.__exit__(*exception)

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, t: torch.Tensor, done: float) -> torch.Tensor:
        """Return the guided output at timestep `t` (a number on the device), `done` of the run in [0, 1) behind it."""
        guided = self._guides(done)
        if self._options.speed == "fast":  # which records its parts itself
            return self._output(x, t, guided)
        if guided not in self._graphs:
            self._graphs[guided] = Graphed(partial(self._output, guided=guided))
        return self._graphs[guided](x, t)

    def predict(self, x: torch.Tensor, t: torch.Tensor, done: float = 0.0) -> torch.Tensor:
        """Return the same with gradients, outside a `with` block; `t` may be (B,), a timestep for each row."""
        return self._output(x, t, self._guides(done))

    def _guides(self, done: float) -> bool:
        return self._guided and not (self._options.speed == "fast" and done >= FAST_GUIDED_SHARE)

    def _output(self, x: torch.Tensor, t: torch.Tensor, guided: bool) -> torch.Tensor:
        if self._conditioning is None:
            return self._unet(x.to(self._model.dtype), t).sample.float()
        rows = slice(0, None) if guided or not self._guided else slice(self._count, None)
        text = Conditioning(*(part if part is None else part[rows] for part in self._conditioning))
        output = self._evaluate(
            (torch.cat([x, x]) if guided else x).to(self._model.dtype),
            torch.cat([t, t]) if guided and t.ndim else t,
            encoder_hidden_states=text.context,
            encoder_attention_mask=text.mask,
            added_cond_kwargs={"text_embeds": text.pooled, "time_ids": self._added[rows]},
            timestep_cond=self._scale_embedding,
        ).sample.float()
        if not guided:
            return output
        unguided, conditioned = output.chunk(2)
        return guide(unguided, conditioned, self._scale, self._options.guidance_rescale)
