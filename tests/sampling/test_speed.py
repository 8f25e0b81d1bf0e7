"""Optimizations: what they may change, and that they leave no trace on shared modules."""

from __future__ import annotations

import copy
import gc
import shutil
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from tastemaker.sampling import SampleOptions, sample
from tastemaker.sampling.speed import ReusedDepth, cached_text, compiled_blocks
from tests.recorded import Recorded

PROMPT = "a large red heart on a blue background"


def processors(unet: torch.nn.Module) -> list[object]:
    return [m.processor for m in unet.modules() if hasattr(m, "processor")]


def inputs(unet: torch.nn.Module, rows: int) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Random (x, t, text) for a call of a UNet."""
    generator, config = torch.Generator().manual_seed(0), unet.config
    pooled = unet.add_embedding.linear_1.in_features - 6 * config.addition_time_embed_dim
    text = {
        "encoder_hidden_states": torch.randn(rows, 77, config.cross_attention_dim, generator=generator),
        "encoder_attention_mask": None,
        "added_cond_kwargs": {
            "text_embeds": torch.randn(rows, pooled, generator=generator),
            "time_ids": torch.full((rows, 6), 64.0),
        },
    }
    return torch.randn(rows, 4, 16, 16, generator=generator), torch.tensor(500), text


@torch.no_grad()
def test_keys_and_values_computed_once_change_nothing(tiny_sdxl) -> None:
    unet = tiny_sdxl.unet
    x, t, text = inputs(unet, 2)
    before = processors(unet)
    want = unet(x, t, **text).sample
    with cached_text(unet, text["encoder_hidden_states"]):
        assert sum(type(p).__name__ == "_TextAttention" for p in processors(unet)) >= 2
        got = unet(x, t, **text).sample
    assert torch.equal(got, want)
    assert processors(unet) == before


@torch.no_grad()
def test_fewer_rows_are_the_last_ones(tiny_sdxl) -> None:
    unet = tiny_sdxl.unet
    x, t, text = inputs(unet, 2)
    want = unet(x, t, **text).sample
    last = {name: part[1:] for name, part in text["added_cond_kwargs"].items()}
    with cached_text(unet, text["encoder_hidden_states"]):
        got = unet(x[1:], t, text["encoder_hidden_states"][1:], added_cond_kwargs=last).sample
    torch.testing.assert_close(got, want[1:], atol=1e-5, rtol=1e-5)


def test_optimizations_are_off_again_after_an_error(tiny_sdxl) -> None:
    before = processors(tiny_sdxl.unet)

    def stop(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(tiny_sdxl, PROMPT, steps=3, seeds=[1], progress=Recorded(stop))
    assert processors(tiny_sdxl.unet) == before
    assert not tiny_sdxl.unet.up_blocks[-1]._forward_pre_hooks


@torch.no_grad()
def test_reused_depth_runs_the_deep_part_every_third_time(tiny_sdxl) -> None:
    """Whole calls are the UNet's own; with deep features of the very same input so are the shallow ones."""
    unet, whole = tiny_sdxl.unet, []
    x, t, text = inputs(unet, 1)
    want = unet(x, t, **text).sample
    hook = unet.mid_block.register_forward_hook(lambda *_: whole.append(1))
    with ReusedDepth(unet) as quick:
        made = [quick(x, t, **text).sample for _ in range(7)]
    hook.remove()
    assert len(whole) == 3  # calls 1, 4 and 7
    for one in made:
        torch.testing.assert_close(one, want, atol=1e-5, rtol=1e-5)
    assert not unet.up_blocks[-1]._forward_pre_hooks


class BasicTransformerBlock(torch.nn.Linear):
    """A block by the name that is compiled."""


def test_compiled_blocks_are_forgotten_with_their_network() -> None:
    unet = torch.nn.Sequential(BasicTransformerBlock(2, 2))
    x, block = torch.ones(1, 2), unet[0]
    want = unet(x)
    calls = []
    for _ in range(2):
        with compiled_blocks(unet, backend="eager"):
            calls.append(block._compiled_call_impl)
            assert torch.equal(unet(x), want)
        assert block._compiled_call_impl is None
    assert calls[0] is calls[1] is not None
    twin = copy.deepcopy(unet)
    twin[0].weight.data.zero_()
    with compiled_blocks(twin, backend="eager"):
        assert torch.equal(twin(x)[0], block.bias)  # its own weights, not those it was copied from
    gone = weakref.ref(block), weakref.ref(twin[0])
    del unet, block, twin, calls
    gc.collect()
    assert [one() for one in gone] == [None, None]


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
@pytest.mark.slow
def test_compile_changes_rounding_only_and_fast_changes_the_picture_a_little(tiny_sdxl) -> None:
    exact = sample(tiny_sdxl, PROMPT, steps=12, seeds=[1, 2]).images
    compiled = sample(tiny_sdxl, PROMPT, steps=12, seeds=[1, 2], options=SampleOptions(speed="compile")).images
    fast = sample(tiny_sdxl, PROMPT, steps=12, seeds=[1, 2], options=SampleOptions(speed="fast")).images
    assert (compiled - exact).abs().max() < 1e-3
    assert 1e-3 < (fast - exact).abs().mean() < 0.1
    again = sample(tiny_sdxl, PROMPT, steps=12, seeds=[1, 2]).images
    assert torch.equal(again, exact)


def test_blocks_stay_compiled_for_more_shapes_than_dynamo_keeps_by_itself() -> None:
    class BasicTransformerBlock(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x + 1

    shapes: list[tuple[int, ...]] = []

    def backend(module: Any, inputs: list[torch.Tensor]) -> Any:
        shapes.append(tuple(inputs[0].shape))
        return module.forward

    unet = nn.Sequential(BasicTransformerBlock())
    with compiled_blocks(unet, backend=backend):
        for _ in range(2):
            for rows in range(1, 13):
                unet(torch.ones(rows, 4))
    assert shapes == [(rows, 4) for rows in range(1, 13)]  # each once, for its own shape and no other
