"""Prompts, encoded for an SDXL UNet.

Legend: B rows, L tokens (a multiple of a window's 77), D features of all text encoders side by side.
Weights and long prompts mean what they mean to ComfyUI's own text encoders: a prompt is cut into
windows of 75 tokens, each encoded by itself, and a token of weight w stands at
`empty + w (token - empty)`, where `empty` is what the encoder makes of no text at that place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

from ..core.errors import InputError, NonFiniteError
from ..core.progress import Place
from ..loaders.lora.apply import applied_loras, merged_bytes
from ..loaders.model import DiffusionModel
from .prompt_syntax import Weighted, parse_weights

_SHARED_BYTES = 256 * 2**20
_WHOLE_WORDS = 8  # a run of fewer tokens is not cut by the end of a window


class Encoded(NamedTuple):
    """One prompt, encoded: context (L, D), pooled (D2,), on the CPU, in the encoders' dtype."""

    context: torch.Tensor
    pooled: torch.Tensor


UNPROMPTED = Encoded(torch.empty(0), torch.empty(0))  # what an unconditional model is given


class Conditioning(NamedTuple):
    """Text conditioning of B rows.

    Attributes:
        context: (B, L, D) penultimate hidden states of the text encoders, side by side.
        pooled: (B, D2) the last encoder's projection of the first window.
        mask: (B, L) bool, False where a shorter prompt was filled up; None where none was.
    """

    context: torch.Tensor
    pooled: torch.Tensor
    mask: torch.Tensor | None = None


class Window(NamedTuple):
    """One window of a prompt: token ids and weights, L of each."""

    ids: list[int]
    weights: list[float]


def windows(tokenizer: Any, runs: Iterable[Weighted], length: int) -> list[Window]:
    """Cut a weighted prompt into windows of `length` tokens, start, end and padding included.

    Runs of fewer than 8 tokens move to the next window whole, where a window has room for them.
    """
    room = length - 2
    filled: list[list[tuple[int, float]]] = [[]]
    for text, weight in runs:
        ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        left = [(token, weight) for token in ids]
        while left:
            free = room - len(filled[-1])
            if len(left) > free:
                if len(ids) >= _WHOLE_WORDS or len(ids) > room:
                    filled[-1] += left[:free]
                    left = left[free:]
                filled.append([])
            else:
                filled[-1] += left
                left = []
    return [_window(tokenizer, tokens, length) for tokens in filled]


def _window(tokenizer: Any, tokens: list[tuple[int, float]], length: int) -> Window:
    padding = length - 2 - len(tokens)
    ids = [tokenizer.bos_token_id, *(t for t, _ in tokens), tokenizer.eos_token_id]
    weights = [1.0, *(w for _, w in tokens), 1.0]
    return Window(ids + [tokenizer.pad_token_id] * padding, weights + [1.0] * padding)


@torch.no_grad()
def encode_prompts(model: DiffusionModel, prompts: Sequence[str]) -> list[Encoded]:
    """Encode prompts with every text encoder of a model.

    Raises InputError for a prompt that cannot be read, NonFiniteError when an encoder overflows.
    """
    parsed = [parse_weights(prompt) for prompt in prompts]
    features = [
        _encode(model.modules[name], tokenizer, parsed)
        for name, tokenizer in zip(model.text_encoders, model.tokenizers, strict=True)
    ]
    encoded = []
    for parts in zip(*features, strict=True):
        context = torch.cat([part.context for part in parts], dim=-1)
        encoded.append(Encoded(context, parts[-1].pooled))
        if not torch.isfinite(context).all():
            raise NonFiniteError(f"A text encoder of {model.name} produced NaN in {context.dtype}: use float32.")
    return encoded


def _encode(encoder: nn.Module, tokenizer: Any, parsed: Sequence[list[Weighted]]) -> list[Encoded]:
    """Run each prompt through one encoder: penultimate states of its windows, one after the other."""
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    cut = [windows(tokenizer, runs, length) for runs in parsed]
    rows = [window for prompt in cut for window in prompt]
    weighted = any(w != 1.0 for row in rows for w in row.weights)
    empty = _window(tokenizer, [], length)
    states, pooled = _run(encoder, [*rows, empty] if weighted else rows)
    if weighted:
        weights = torch.tensor([row.weights for row in rows])[..., None]  # (rows, L, 1)
        nothing = states[-1].float()
        moved = (nothing + weights * (states[:-1].float() - nothing)).to(states.dtype)
        states = torch.where(weights == 1.0, states[:-1], moved)
    encoded, first = [], 0
    for prompt in cut:
        context = states[first : first + len(prompt)].flatten(0, 1)  # (L, D)
        encoded.append(Encoded(context, pooled[first].clone()))  # a view would keep the others
        first += len(prompt)
    return encoded


def _run(encoder: nn.Module, rows: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (penultimate states (rows, L, D), pooled (rows, D2)) on the CPU.

    One window at a time: kernels round differently at other batch sizes, and what a prompt means must
    not depend on which others were encoded with it before it was cached.
    """
    device = next(encoder.parameters()).device
    states, pooled = [], []
    for row in rows:
        output = encoder(torch.tensor([row.ids], device=device), output_hidden_states=True)
        states.append(output.hidden_states[-2].cpu())
        pooled.append(output[0].cpu())
    return torch.cat(states), torch.cat(pooled)


def stack(encoded: Sequence[Encoded], device: torch.device) -> Conditioning:
    """Stack the rows of one batch; shorter prompts are filled up with zeros that nothing attends to."""
    longest = max(len(one.context) for one in encoded)
    pooled = torch.stack([one.pooled for one in encoded]).to(device)
    if all(len(one.context) == longest for one in encoded):
        return Conditioning(torch.stack([one.context for one in encoded]).to(device), pooled)
    context = nn.utils.rnn.pad_sequence([one.context for one in encoded], batch_first=True)
    lengths = torch.tensor([len(one.context) for one in encoded])
    mask = torch.arange(longest)[None] < lengths[:, None]
    return Conditioning(context.to(device), pooled, mask.to(device))


class PromptCache:
    """Encoded prompts by model and text: each distinct prompt is encoded once.

    The oldest are forgotten beyond `size` prompts or `most_bytes`. At SDXL's full size 128 prompts take
    about 40 MB in half precision, but one of 30,000 tokens takes 126 MB alone.
    """

    def __init__(self, size: int = 128, most_bytes: int | None = None) -> None:
        self._size, self._most_bytes = size, most_bytes
        self._known: dict[tuple[str, torch.dtype, str], Encoded] = {}

    def missing(self, model: DiffusionModel, prompts: Iterable[str]) -> list[str]:
        """Return the distinct prompts that are not there yet."""
        return [p for p in dict.fromkeys(prompts) if self._key(model, p) not in self._known]

    def get(self, model: DiffusionModel, prompts: Sequence[str]) -> list[Encoded]:
        """Return one entry a prompt, encoding what is missing."""
        missing = self.missing(model, prompts)
        if missing:
            fresh = dict(zip(missing, encode_prompts(model, missing), strict=True))
            self._known.update({self._key(model, p): one for p, one in fresh.items()})
        found = []
        for prompt in prompts:
            key = self._key(model, prompt)
            self._known[key] = self._known.pop(key)  # the latest used stand last
            found.append(self._known[key])
        total = sum(map(_bytes_of, self._known.values()))
        while len(self._known) > self._size or (self._most_bytes is not None and total > self._most_bytes):
            total -= _bytes_of(self._known.pop(next(iter(self._known))))
        return found

    @staticmethod
    def _key(model: DiffusionModel, prompt: str) -> tuple[str, torch.dtype, str]:
        return model.fingerprint, model.dtype, prompt


def _bytes_of(encoded: Encoded) -> int:
    return encoded.context.nbytes + encoded.pooled.nbytes


def encode_with_negative(
    cache: PromptCache, model: DiffusionModel, prompts: Sequence[str], negative_prompt: str | None, place: Place
) -> tuple[list[Encoded], Encoded | None]:
    """Encode each prompt, and the unguided half of classifier-free guidance: None without a negative prompt.

    An empty negative prompt is zeros where the model was trained so (SDXL, Playground v2). `place` puts the text
    encoders where they compute, with their LoRAs, only for what is not known yet. Unconditional models read nothing.
    """
    if not model.conditional:
        return [UNPROMPTED] * len(prompts), None
    wanted = list(prompts) if negative_prompt is None else [*prompts, negative_prompt]
    encoders = model.text_encoders if cache.missing(model, wanted) else ()
    with ExitStack() as stack:
        if encoders:
            stack.enter_context(place([model.modules[name] for name in encoders], merged_bytes(model, encoders)))
            stack.enter_context(applied_loras(model, encoders))
        known = cache.get(model, wanted)  # once: what it forgets would be encoded again, without the LoRAs
    if negative_prompt is None:
        return known, None
    negative = known.pop()
    if not negative_prompt and model.zero_empty_prompt:
        negative = Encoded(torch.zeros_like(negative.context), torch.zeros_like(negative.pooled))
    return known, negative


@lru_cache(maxsize=1)
def shared_cache() -> PromptCache:
    """Return the cache that all sampling of this process shares."""
    return PromptCache(most_bytes=_SHARED_BYTES)


def check_readable(model: DiffusionModel, prompts: Sequence[str], name: str = "prompts") -> None:
    """Raise InputError for prompts a model cannot read, before anything is loaded or run."""
    for prompt in dict.fromkeys(prompts):
        if model.conditional:
            parse_weights(prompt, name)
        elif prompt.strip():
            raise InputError(name, prompt, f"{model.name} is unconditional: it reads no text. Leave this empty.")
