"""Prompts to what an SDXL UNet is conditioned on. Legend: B rows, L = 77 tokens, D features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..loaders.errors import InputError
from ..loaders.model import DiffusionModel


class Conditioning(NamedTuple):
    """Text conditioning of B rows.

    Attributes:
        context: (B, L, D) penultimate hidden states of both encoders, side by side.
        pooled: (B, D2) the second encoder's projection.
    """

    context: torch.Tensor
    pooled: torch.Tensor

    def rows(self, index: Sequence[int]) -> Conditioning:
        """Some rows, repeated or reordered."""
        return Conditioning(self.context[list(index)], self.pooled[list(index)])


def _token_ids(tokenizer: object, prompts: Sequence[str]) -> torch.Tensor:
    longest = tokenizer.model_max_length
    for prompt in prompts:
        count = len(tokenizer(prompt).input_ids)
        if count > longest:
            raise InputError(
                "prompts",
                prompt,
                f"This prompt is {count - 2} tokens long and the model reads {longest - 2}: nothing is cut "
                "silently, so shorten it.",
            )
    batch = tokenizer(list(prompts), padding="max_length", max_length=longest, return_tensors="pt")
    return batch.input_ids  # (B, L)


@torch.no_grad()
def encode_prompts(model: DiffusionModel, prompts: Sequence[str]) -> Conditioning:
    """Encode prompts with both text encoders, each distinct text once.

    Shape: `prompts` of B texts to `Conditioning` of B rows, in the encoders' dtype and device.
    Source: diffusers `StableDiffusionXLPipeline.encode_prompt`. Raises InputError for texts too long.
    """
    distinct = list(dict.fromkeys(prompts))
    contexts, pooled = [], None
    for tokenizer, name in zip(model.tokenizers, ("text_encoder", "text_encoder_2"), strict=True):
        ids = _token_ids(tokenizer, distinct).to(model.device)
        output = model.modules[name](ids, output_hidden_states=True)
        contexts.append(output.hidden_states[-2])
        pooled = output[0]
    encoded = Conditioning(torch.cat(contexts, dim=-1), pooled)
    return encoded.rows([distinct.index(p) for p in prompts])


def encode_negative(model: DiffusionModel, negative_prompt: str, count: int) -> Conditioning:
    """The unguided half of classifier-free guidance, `count` rows.

    An empty negative prompt is zeros where the model was trained so (SDXL, Playground v2).
    """
    one = encode_prompts(model, [negative_prompt])
    if not negative_prompt and model.zero_empty_prompt:
        one = Conditioning(torch.zeros_like(one.context), torch.zeros_like(one.pooled))
    return one.rows([0] * count)


def time_ids(model: DiffusionModel, height: int, width: int, count: int) -> torch.Tensor:
    """SDXL's size conditioning: original size, crop corner, target size. (B, 6)

    Source: Podell et al. 2023 (arXiv 2307.01952), sec. 2.2; the picture is asked for whole and sharp.
    """
    row = [height, width, 0, 0, height, width]
    return torch.tensor([row] * count, dtype=model.dtype, device=model.device)
