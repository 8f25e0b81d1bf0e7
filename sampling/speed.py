"""Optimizations, each a context manager that leaves the shared modules as they were.

`cached_text` changes nothing in the result. `compiled_blocks` changes rounding. `ReusedDepth`
approximates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from ..core.errors import TastemakerError
from .graphs import Graphed

REUSED_STEPS = 3  # one whole evaluation in this many


class _TextAttention:
    """Cross-attention whose keys and values were computed beforehand.

    The text does not change over the steps, so neither do they. The last rows are taken when fewer
    are asked for: those of the prompts, after those of the negative prompt.
    """

    def __init__(self, attention: nn.Module, context: torch.Tensor) -> None:
        self.keys = self._heads(attention, attention.to_k(context))
        self.values = self._heads(attention, attention.to_v(context))

    @staticmethod
    def _heads(attention: nn.Module, features: torch.Tensor) -> torch.Tensor:
        return rearrange(features, "b l (h d) -> b h l d", h=attention.heads)

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        batch = len(hidden_states)  # (B, pixels, D)
        if attention_mask is not None:
            attention_mask = attention_mask[:, None]  # (B, heads, pixels, L), heads and pixels of size 1
        query = self._heads(attn, attn.to_q(hidden_states))
        found = F.scaled_dot_product_attention(
            query, self.keys[-batch:], self.values[-batch:], attn_mask=attention_mask
        )
        found = rearrange(found, "b h l d -> b l (h d)")
        return attn.to_out[1](attn.to_out[0](found))


def _is_plain(attention: Any) -> bool:
    """Return whether an attention module is the usual cross-attention over the text, with nothing added."""
    added = ("norm_cross", "norm_q", "norm_k", "group_norm", "spatial_norm", "residual_connection")
    return (
        getattr(attention, "is_cross_attention", False)
        and not any(getattr(attention, name, None) for name in added)
        and attention.rescale_output_factor == 1.0
        and attention.scale == (attention.to_q.out_features // attention.heads) ** -0.5
        and type(attention.processor).__name__ == "AttnProcessor2_0"
    )


@contextmanager
@torch.no_grad()
def cached_text(unet: nn.Module, context: torch.Tensor) -> Iterator[None]:
    """Compute the text's keys and values of every cross-attention once, for the `with` block.

    Shape: context (B, L, D), the rows that the block's calls will have, or end in.
    """
    own = {}
    try:
        for module in unet.modules():
            if _is_plain(module):
                own[module] = module.processor
                module.processor = _TextAttention(module, context)
        yield
    finally:
        for module, processor in own.items():
            module.processor = processor


class _Compiled:
    """A block's compiled call, kept on the block itself, so that both are forgotten together.

    The call holds its block: a copy of the block begins without one.
    """

    call: Any = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Compiled, ()


_KEPT = "_tastemaker_compiled"
_SHAPES = 64  # compiled forms of a block that are kept: two for each picture size and number of rows


def _many_shapes() -> Any:
    """Let Dynamo keep more forms than its eight, beyond which blocks would silently run as they are."""
    from torch._dynamo import config

    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    return config.patch({limit: _SHAPES})


@contextmanager
def compiled_blocks(unet: nn.Module, backend: Any = "inductor") -> Iterator[None]:
    """Run the transformer blocks through torch.compile for the `with` block.

    Blocks of one shape share their code, so it takes seconds once, not a minute. Raises
    TastemakerError where torch.compile cannot work (no C++ compiler, no Triton).
    """
    blocks = [module for module in unet.modules() if type(module).__name__ == "BasicTransformerBlock"]
    try:
        for block in blocks:
            kept = block.__dict__.setdefault(_KEPT, _Compiled())
            if kept.call is None:
                block.compile(backend=backend, dynamic=False)
                kept.call = block._compiled_call_impl
            block._compiled_call_impl = kept.call
        with _many_shapes():
            yield
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise TastemakerError(
                f"speed: torch.compile does not work here ({type(error).__name__}: {str(error)[:200]}). Pick exact."
            ) from error
        raise
    finally:
        for block in blocks:
            block._compiled_call_impl = None


class ReusedDepth:
    """A UNet whose deep features are computed in one call of three and reused in the next two.

    DeepCache (Ma et al. 2023, arXiv 2312.00858) at its outermost skip connection: in between, only the
    first block down and the last block up run. The first call is always whole, as is one with other
    rows than the last.
    """

    def __init__(self, unet: nn.Module) -> None:
        self._unet, self._calls, self._deep = unet, 0, None
        self._graphs: dict[tuple[bool, int], Graphed] = {}

    def __enter__(self) -> ReusedDepth:
        last = self._unet.up_blocks[-1]
        self._hook = last.register_forward_pre_hook(self._keep, with_kwargs=True)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._hook.remove()
        self._deep = None
        self._graphs.clear()

    def _keep(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self._deep = kwargs["hidden_states"]

    def __call__(self, sample: torch.Tensor, t: torch.Tensor, **text: Any) -> Any:
        fits = self._deep is not None and len(self._deep) == len(sample)
        self._calls = self._calls + 1 if fits else 0
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        whole = self._calls % REUSED_STEPS == 0
        key = whole, len(sample)  # the text of so many rows is the same in every call
        if key not in self._graphs:
            self._graphs[key] = Graphed(partial(self._whole if whole else self._shallow, text))
        if whole:
            output, self._deep = self._graphs[key](sample, t)
        else:
            output = self._graphs[key](sample, t, self._deep)
        return UNet2DConditionOutput(sample=output)

    def _whole(self, text: dict[str, Any], sample: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self._unet(sample, t, **text).sample
        return output, self._deep

    def _shallow(self, text: dict[str, Any], sample: torch.Tensor, t: torch.Tensor, deep: torch.Tensor) -> torch.Tensor:
        unet, context = self._unet, text["encoder_hidden_states"]
        embedding = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=t), text.get("timestep_cond"))
        embedding = embedding + unet.get_aug_embed(
            emb=embedding, encoder_hidden_states=context, added_cond_kwargs=text["added_cond_kwargs"]
        )
        mask = text["encoder_attention_mask"]
        bias = None if mask is None else (1 - mask.to(sample.dtype))[:, None] * -10000.0

        def run(block: nn.Module, **inputs: Any) -> Any:
            if getattr(block, "has_cross_attention", False):
                inputs |= {"encoder_hidden_states": context, "encoder_attention_mask": bias}
            return block(temb=embedding, **inputs)

        sample = unet.conv_in(sample)
        _, skipped = run(unet.down_blocks[0], hidden_states=sample)
        last = unet.up_blocks[-1]
        skips = (sample, *skipped)[: len(last.resnets)]
        sample = run(last, hidden_states=deep, res_hidden_states_tuple=skips)
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(sample)))
