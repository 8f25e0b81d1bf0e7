"""Whether the values of a module's config are of the kind that its class computes with.

A constructor takes many values that fail only when the network runs: texts for numbers, null, counts below nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from ...core.errors import ModelFileError

_ABOVE_ZERO = ("scaling_factor", "norm_eps", "layer_norm_eps", "resnet_out_scale_factor", "mid_block_scale_factor")
_NEVER_NULL = ("downsample_padding", "freq_shift", "mid_block_scale_factor")
_CLIP_COUNTS = (
    *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers"),
    *("num_attention_heads", "max_position_embeddings"),
)


def check_values(config: Mapping[str, Any], cls: type, where: str) -> None:
    """Raise ModelFileError for a value of another kind than the class's own default, or a number below 0.

    `where` names the file. A list of numbers may stand for a whole number, and a list of true and false for one of
    them, as the classes take one for each level. Null is refused where the network computes with it; elsewhere
    published configs have it (`"attention_head_dim": null`), or the constructor refuses it.
    """
    for key, parameter in inspect.signature(cls).parameters.items():
        if key in config:
            _check(key, config[key], parameter.default, where)


def check_clip_values(config: Mapping[str, Any], where: str) -> None:
    """Raise ModelFileError for a CLIP text encoder's config with counts, token ids or shares that are none."""
    for key in _CLIP_COUNTS:
        if key in config and (type(config[key]) is not int or config[key] < 1):
            raise _wrong(where, key, config[key], "a whole number from 1")
    if type(config.get("eos_token_id", 0)) is not int:
        raise _wrong(where, "eos_token_id", config["eos_token_id"], "a whole number")
    eps = config.get("layer_norm_eps", 1.0)
    if not _is_number(eps) or eps <= 0:
        raise _wrong(where, "layer_norm_eps", eps, "a number above 0")


def _check(key: str, value: Any, default: Any, where: str) -> None:
    if value is None and not isinstance(default, float) and key not in _NEVER_NULL:
        return
    entries = list(_entries(value))
    if isinstance(default, bool):
        if not entries or not all(isinstance(entry, bool) for entry in entries):
            raise _wrong(where, key, value, "true or false")
    elif isinstance(default, float):
        if not _is_number(value):
            raise _wrong(where, key, value, "a number")
    elif isinstance(default, int):
        if not entries or not all(_is_number(entry) for entry in entries):
            raise _wrong(where, key, value, "a number")
    elif isinstance(default, str) and not isinstance(value, str):
        raise _wrong(where, key, value, "a text")
    negative = [entry for entry in entries if _is_number(entry) and entry < 0 and key != "latents_mean"]
    if negative or (key in _ABOVE_ZERO and 0 in entries):
        raise _wrong(where, key, value, "above 0" if key in _ABOVE_ZERO else "0 or more")


def _entries(value: Any) -> Iterator[Any]:
    """Yield the values in lists in lists, or the one that is none."""
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _entries(entry)
    else:
        yield value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wrong(where: str, key: str, value: Any, wanted: str) -> ModelFileError:
    return ModelFileError(f"{where}: {key} is {str(value)[:80]!r}; it must be {wanted}.")
