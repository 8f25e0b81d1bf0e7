"""LoRA safetensors files to layers, strictly: every key is understood or the file is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...core.errors import ModelFileError
from ..formats.weights import describe_file, read_safetensors
from .apply import LoraLayer
from .keys import KeyName, other_kind, parse_key

MAX_KEYS = 50_000  # a LoRA on every layer of SDXL, text encoders too, has about 9,000
_SHOWN = 5
_DEEPEST = 30  # parts of a layer's path; SDXL's have up to 12, and a prefix


def read_layers(path: Path) -> dict[tuple[str, str], LoraLayer]:
    """(component, flat name) to layer. The names are checked before any weight is read."""
    names, metadata = _header(path)
    parts = _group(names, path.name)
    alphas = _PeftAlphas(metadata, path.name)
    state = read_safetensors(path)
    return {
        (component, flat): _layer(state, keys, alphas, component, flat, path.name)
        for (component, flat), keys in parts.items()
    }


def _header(path: Path) -> tuple[list[str], dict[str, str]]:
    if not path.is_file():
        raise ModelFileError(f"There is no LoRA file {path.name}.")
    kind = describe_file(path)
    if kind != "safetensors":
        raise ModelFileError(f"{path.name} is {kind}; a LoRA must be a safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys()), dict(file.metadata() or {})
    except SafetensorError as e:
        raise ModelFileError(f"{path.name} is damaged ({e}). Download it again.") from e


def _group(names: list[str], file: str) -> dict[tuple[str, str], dict[str, str]]:
    """(component, flat name) to its keys by part."""
    if len(names) > MAX_KEYS:
        raise ModelFileError(f"{file} holds {len(names):,} tensors: no LoRA has more than {MAX_KEYS:,}.")
    for name in names:
        kind = other_kind(name)
        if kind:
            raise ModelFileError(f"{file} is {kind}, by its key {_short(name)}. Only plain LoRA and LoCon files load.")
    parts: dict[tuple[str, str], dict[str, str]] = {}
    unknown = []
    for name in names:
        key = parse_key(name)
        if key is None:
            unknown.append(name)
            continue
        layer = parts.setdefault((key.component, key.flat), {})
        if key.part in layer:
            raise ModelFileError(f"{file} has two {key.part} parts for {_name(key)}: {layer[key.part]} and {name}.")
        layer[key.part] = name
    _refuse_unknown(unknown, parts, file)
    for (component, flat), keys in parts.items():
        if not {"up", "down"} <= set(keys):
            there = ", ".join(sorted(keys))
            raise ModelFileError(f"{file} is incomplete: {component}.{flat} has {there}, but not both up and down.")
    return parts


def _refuse_unknown(unknown: list[str], parts: dict[Any, Any], file: str) -> None:
    shown = ", ".join(_short(n) for n in sorted(unknown)[:_SHOWN])
    shown += f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    if not parts:
        raise ModelFileError(f"{file} holds no LoRA layers (found: {shown or 'nothing'}). Is it a checkpoint?")
    if any(n.startswith("lora_te_") for n in unknown):
        raise ModelFileError(f"{file} was made for Stable Diffusion 1 or 2, not for SDXL (keys lora_te_...).")
    if unknown:
        raise ModelFileError(f"{file} has {len(unknown)} keys that are no part of a LoRA for SDXL: {shown}.")


def _short(name: str) -> str:
    return ascii(name if len(name) <= 120 else name[:117] + "...")[1:-1]


def _name(key: KeyName) -> str:
    return f"{key.component}.{key.flat}"


def _layer(
    state: dict[str, Tensor], keys: dict[str, str], alphas: _PeftAlphas, component: str, flat: str, file: str
) -> LoraLayer:
    up, down = state[keys["up"]], state[keys["down"]]
    mid = state[keys["mid"]] if "mid" in keys else None
    if down.ndim < 2:
        raise ModelFileError(f"{file}: {keys['down']} has shape {tuple(down.shape)}, which is no LoRA's.")
    rank = int(down.shape[0])
    if "alpha" in keys:
        value = state[keys["alpha"]]
        if value.numel() != 1:
            raise ModelFileError(f"{file}: {keys['alpha']} has shape {tuple(value.shape)}; an alpha is one number.")
        alpha = float(value)
    else:
        alpha = alphas.alpha(component, keys["down"], rank)
    return LoraLayer(up, down, alpha, mid)


class _PeftAlphas:
    """Alphas of files in the diffusers spelling, which keep them as JSON in the file's metadata.

    Source: `lora_adapter_metadata` of diffusers 0.34 and later (loaders/lora_base.py). Keys are
    `<component>.<peft LoraConfig field>`.
    """

    def __init__(self, metadata: dict[str, str], file: str) -> None:
        text = metadata.get("lora_adapter_metadata")
        self._file = file
        try:
            self._config = json.loads(text) if text else {}
        except (ValueError, RecursionError) as e:
            raise ModelFileError(f"{file} has adapter metadata that cannot be read as JSON: {e}.") from e
        if not isinstance(self._config, dict):
            raise ModelFileError(f"{file} has adapter metadata that is no JSON object.")
        self._patterns: dict[str, dict[str, tuple[int, Any]]] = {}  # component -> pattern -> its place and alpha
        for key, value in self._config.items():
            if key.endswith(".use_dora") and value:
                raise ModelFileError(f"{file} is a DoRA, by its metadata. Only plain LoRA and LoCon files load.")
            if key.endswith(".alpha_pattern") and value:
                self._patterns[key.removesuffix(".alpha_pattern")] = self._index(value)

    def _index(self, patterns: Any) -> dict[str, tuple[int, Any]]:
        if not isinstance(patterns, dict):
            raise ModelFileError(f"{self._file} has an alpha_pattern in its metadata that is no JSON object.")
        if len(patterns) > MAX_KEYS:
            raise ModelFileError(f"{self._file} has {len(patterns):,} alpha_patterns: no LoRA has so many layers.")
        for pattern in patterns:
            plain = pattern.replace(".", "").replace("_", "").isalnum()  # peft takes regular expressions here
            if not plain or pattern.count(".") >= _DEEPEST:
                raise ModelFileError(f"{self._file} has an alpha_pattern that is no layer's path: {_short(pattern)}.")
        return {pattern: (place, alpha) for place, (pattern, alpha) in enumerate(patterns.items())}

    def alpha(self, component: str, key: str, rank: int) -> float:
        """The alpha of a layer, so that alpha / rank is what peft multiplies by; `rank` when none is given."""
        value = self._config.get(f"{component}.lora_alpha", rank)
        patterns = self._patterns.get(component, {})
        path = key.rsplit(".lora_A", 1)[0].rsplit(".lora.down", 1)[0]
        parts = path.rsplit(".", _DEEPEST)
        ends = {".".join(parts[i:]) for i in range(len(parts))}
        if found := [patterns[end] for end in ends & patterns.keys()]:
            value = min(found, key=lambda one: one[0])[1]  # of several peft takes the first
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelFileError(f"{self._file} has an alpha in its metadata that is no number: {_short(str(value))}.")
        if abs(value) > 1e30:  # or NaN, which make_lora refuses
            raise ModelFileError(f"{self._file} has an alpha in its metadata that is out of range.")
        if self._config.get(f"{component}.use_rslora"):  # scaled by alpha / sqrt(rank), arXiv 2312.03732
            value = value * math.sqrt(rank)
        return float(value)
