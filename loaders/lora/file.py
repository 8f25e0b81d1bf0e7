"""LoRA safetensors files to layers, strictly: every key is understood or the file is refused."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.errors import ModelFileError
from ...core.texts import short, some
from ..formats.header import read_header
from ..formats.weights import read_safetensors
from .keys import KeyName, layer_of, left_out, other_kind, parse_key
from .layers import FullLayer, Key, Layer, LoraLayer, SetLayer
from .lycoris import GloraLayer, Ia3Layer, LohaLayer, LokrLayer, OftLayer
from .origin import origin_of_names
from .peft import AdapterSettings, adapter_settings

_log = logging.getLogger(__name__)

MAX_KEYS = 50_000  # a LoRA on every layer of SDXL, text encoders too, has about 9,000
_HOST_PREFIX = "diffusion_model."  # ComfyUI's own spelling

# a kind's parts: those that are needed, those that may be there; all may have an alpha, a magnitude and a bias
_KINDS: tuple[tuple[str, set[str], set[str]], ...] = (
    ("LoRA", {"up", "down"}, {"mid", "reshape", "scaled_bias"}),
    ("LoHa", {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}, {"hada_t1", "hada_t2"}),
    ("LoKr", set(), {f"lokr_{n}" for n in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")}),
    ("GLoRA", {"a1", "a2", "b1", "b2"}, set()),
    ("OFT", {"blocks"}, {"rescale"}),
    ("(IA)^3", {"factors", "on_input"}, set()),
    ("set", {"value"}, set()),
    ("full", set(), {"diff"}),
)
_NUMBERS = ("alpha", "on_input")
_VECTORS = ("magnitude", "output_magnitude", "bias", "scaled_bias", "diff", "value", "factors", "reshape", "rescale")
_COMMON = {"alpha", "magnitude", "output_magnitude", "bias"}


def read_layers(path: Path) -> tuple[dict[Key, Layer], tuple[str, ...]]:
    """Read (component, flat name) to layer, and notes on what is left out. Names are checked before any weight is read.

    Raises ModelFileError for what is no LoRA for SDXL, in words.
    """
    header = read_header(path)
    parts, notes = _group(list(header.shapes), path.name)
    settings = adapter_settings(path, header.notes)
    state = read_safetensors(path)
    layers = {key: _Parts(state, keys, key, settings, path.name).layer() for key, keys in parts.items()}
    if settings.dora and all(layer.magnitude is None for layer in layers.values()):
        raise ModelFileError(f"{path.name} is a DoRA, by its settings, but holds no magnitudes. Download it again.")
    return layers, notes


# --- names to layers ------------------------------------------------------------------------------


def _group(names: list[str], file: str) -> tuple[dict[Key, dict[str, str]], tuple[str, ...]]:
    """(component, flat name) to its keys by part; and notes on what is left out."""
    if len(names) > MAX_KEYS:
        raise ModelFileError(f"{file} holds {len(names):,} tensors: no LoRA has more than {MAX_KEYS:,}.")
    parts: dict[Key, dict[str, str]] = {}
    unknown: list[str] = []
    unused: dict[str, int] = {}
    scaled = {name.removesuffix(".on_input") for name in names if name.endswith(".on_input")}
    for name in names:
        if what := left_out(name):
            unused[what] = unused.get(what, 0) + 1
            continue
        key = _ia3_factors(name, scaled) or parse_key(name)
        if key is None:
            unknown.append(name)
            continue
        layer = parts.setdefault((key.component, key.flat), {})
        if key.part in layer:
            raise ModelFileError(f"{file} has two {key.part} parts for {_name(key)}: {layer[key.part]} and {name}.")
        layer[key.part] = name
    if unknown or not parts:
        _refuse(names, unknown, bool(parts), file)
    return parts, tuple(_note(file, what, count) for what, count in unused.items())


def _ia3_factors(name: str, scaled: set[str]) -> KeyName | None:
    """(IA)^3 calls its factors `weight`, as checkpoints call theirs; only `on_input` beside it tells."""
    base = name.removesuffix(".weight")
    named = layer_of(base) if base != name and base in scaled else None
    return named and KeyName(*named, "factors")


def _note(file: str, what: str, count: int) -> str:
    note = f"{file}: left out {what} ({count} tensor{'s' if count > 1 else ''})."
    _log.warning(note)
    return note


def _refuse(names: list[str], unknown: list[str], some_known: bool, file: str) -> None:
    for name in unknown:
        kind = other_kind(name)
        if kind:
            raise ModelFileError(f"{file} is {kind}, by its key {short(name)}, which cannot be used here.")
    origin = origin_of_names(unknown)
    if origin:
        raise ModelFileError(f"{file} was made for {origin}, not for SDXL, by its key {short(min(unknown))}.")
    shown = some(map(short, unknown))
    if some_known:
        raise ModelFileError(f"{file} has {len(unknown)} keys that are no part of a LoRA for SDXL: {shown}.")
    from ..single_file.identify import identify_shapes

    kind = identify_shapes(dict.fromkeys(names, ()))
    if kind == "a LoRA":
        raise ModelFileError(f"{file} holds LoRA layers, but for a model that is not known here (found: {shown}).")
    raise ModelFileError(f"{file} holds no LoRA layers (found: {shown or 'nothing'}). Is it a checkpoint?")


def _name(key: KeyName) -> str:
    return f"{key.component}.{key.flat}"


# --- one layer ------------------------------------------------------------------------------------


class _Parts:
    """The tensors of one layer, and the kind that they make."""

    def __init__(
        self, state: Mapping[str, Tensor], keys: dict[str, str], key: Key, settings: AdapterSettings, file: str
    ) -> None:
        self._tensors = {part: state[name] for part, name in keys.items()}
        self._keys, self._key, self._settings, self._file = keys, key, settings, file
        self._where = f"{file}: {key[0]}.{key[1]}"

    def layer(self) -> Layer:
        """Make the layer. Raises ModelFileError when parts are missing, of two kinds, or no LoRA's."""
        kind = self._kind()
        self._check_sides()
        common = {"magnitude": self._magnitude(), "bias": self._tensors.get("bias")}
        get = self._tensors.get
        if kind == "LoRA":
            return self._lora(common)
        if kind == "LoHa":
            factors = {n: get(f"hada_{n}") for n in LohaLayer.NAMES}
            return LohaLayer(**factors, alpha=self._alpha(len(self._tensors["hada_w1_b"])), **common)
        if kind == "LoKr":
            return self._lokr(common)
        if kind == "GLoRA":
            return self._glora(common)
        if kind == "OFT":
            return self._oft(common)
        if kind == "(IA)^3":
            return Ia3Layer(self._tensors["factors"], bool(self._number("on_input")), **common)
        if kind == "set":
            return SetLayer(self._tensors["value"], **common)
        return FullLayer(get("diff"), **common)

    def _kind(self) -> str:
        own = set(self._keys) - _COMMON
        for kind, needed, possible in _KINDS:
            if needed <= own and own <= needed | possible and (own or kind == "full"):
                if not own and "bias" not in self._keys:
                    break
                return kind
        there = ", ".join(sorted(self._keys))
        begun = next((needed for _, needed, possible in _KINDS if own & needed and own <= needed | possible), None)
        if begun is None and not own:
            begun = {"up", "down"}
        if begun:
            missing = ", ".join(sorted(begun - own))
            raise ModelFileError(f"{self._file} is incomplete: {'.'.join(self._key)} has {there}, but not {missing}.")
        raise ModelFileError(f"{self._where} has parts of two kinds of LoRA: {there}.")

    def _check_sides(self) -> None:
        for part, tensor in self._tensors.items():
            least = 0 if part in _NUMBERS else 1 if part in _VECTORS else 2
            if not least <= tensor.ndim <= 4:
                shape = tuple(tensor.shape)
                raise ModelFileError(f"{self._file}: {self._keys[part]} has shape {shape}, which is no LoRA's.")

    def _lora(self, common: dict[str, Any]) -> LoraLayer:
        up, down, mid = self._tensors["up"], self._tensors["down"], self._tensors.get("mid")
        layer = LoraLayer(up, down, self._alpha(len(down)), mid, **common)
        if "reshape" in self._tensors:
            self._check_reshape(layer)
        if "scaled_bias" in self._tensors:
            if layer.bias is not None:
                raise ModelFileError(f"{self._where} has two biases: {', '.join(sorted(self._keys))}.")
            return LoraLayer(up, down, layer.alpha, mid, magnitude=layer.magnitude, bias=self._scaled_bias(layer))
        return layer

    def _check_reshape(self, layer: LoraLayer) -> None:
        """ComfyUI widens a weight to this shape first; `match` refuses what is not the model's own."""
        found = tuple(self._tensors["reshape"].flatten().tolist())
        if found[:1] != layer.shape[:1] or math.prod(found) != math.prod(layer.shape):
            raise ModelFileError(f"{self._where} is for a weight of shape {found}, and its factors make {layer.shape}.")

    def _scaled_bias(self, layer: LoraLayer) -> Tensor:
        return self._tensors["scaled_bias"].float() * layer.scale  # peft's lora_bias, scaled as the rest

    def _lokr(self, common: dict[str, Any]) -> LokrLayer:
        factors = {n: self._tensors.get(f"lokr_{n}") for n in LokrLayer.NAMES}
        inner = factors["w2_b"] if factors["w2_b"] is not None else factors["w1_b"]
        if inner is not None:
            return LokrLayer(alpha=self._alpha(len(inner)), **factors, **common)
        if factors["w1"] is not None:  # of whole factors LyCORIS and ComfyUI ignore the alpha, peft does not
            scale = self._settings.whole_scale(self._key[0], self._keys["lokr_w1"].removesuffix(".lokr_w1"))
            factors["w1"] = factors["w1"] if scale == 1 else factors["w1"].float() * scale
        return LokrLayer(alpha=1.0, **factors, **common)

    def _glora(self, common: dict[str, Any]) -> GloraLayer:
        a1, a2, b1, b2 = (self._tensors[n] for n in ("a1", "a2", "b1", "b2"))
        old = b1.shape[0] == b2.shape[1] == a1.shape[0] == a2.shape[1]  # LyCORIS before 2.0 named them the other way
        new = b1.shape[1] == b2.shape[0] == a1.shape[1] == a2.shape[0]
        if old and not new:
            a1, a2, b1, b2 = a2, a1, b2, b1
        return GloraLayer(a1, a2, b1, b2, self._alpha(len(b2)), **common)

    def _oft(self, common: dict[str, Any]) -> OftLayer:
        layer = OftLayer(self._tensors["blocks"], 0.0, self._tensors.get("rescale"), **common)
        if layer.misfit or "alpha" not in self._keys:
            return layer
        limit = self._number("alpha")
        if not self._keys["blocks"].startswith(_HOST_PREFIX):
            limit *= layer.outputs  # LyCORIS and kohya give it for each output channel, ComfyUI's trainer for all
        return OftLayer(layer.blocks, limit, layer.rescale, **common)

    def _magnitude(self) -> Tensor | None:
        """DoRA's magnitudes as (out, 1, ...) or (1, in, ...); peft's have one side, or stand on the second."""
        if {"magnitude", "output_magnitude"} <= set(self._keys):
            raise ModelFileError(f"{self._where} has two magnitudes: {', '.join(sorted(self._keys))}.")
        peft = self._tensors.get("output_magnitude")
        if peft is not None:
            return peft.reshape(-1, 1, *(1 for _ in peft.shape[2:]))
        found = self._tensors.get("magnitude")
        return found if found is None or found.ndim > 1 else found.reshape(-1, 1)

    def _alpha(self, rank: int) -> float:
        if "alpha" in self._keys:
            return self._number("alpha")
        part = next(p for p in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "b2") if p in self._keys)
        end = {"down": r".lora"}.get(part, "." + part)
        return self._settings.alpha(self._key[0], self._keys[part].rsplit(end, 1)[0], rank)

    def _number(self, part: str) -> float:
        value = self._tensors[part]
        if value.numel() != 1:
            named = self._keys[part]
            raise ModelFileError(f"{self._file}: {named} has shape {tuple(value.shape)}; an alpha is one number.")
        number = float(value)
        if not math.isfinite(number):
            raise ModelFileError(f"{self._where} has the {part} {number}; it must be a finite number.")
        return number
