"""The settings that peft and diffusers keep outside a LoRA's tensors: alphas, above all.

diffusers (0.34 and later) writes them as JSON into the file's metadata under `lora_adapter_metadata`, with keys
`<component>.<LoraConfig field>` (loaders/lora_base.py); peft writes `adapter_config.json` beside
`adapter_model.safetensors` (peft/config.py). Both come from strangers and are read with bounds.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ...core.errors import ModelFileError
from ...core.files import parse_json
from ...core.texts import short
from ..formats.weights import read_json
from .keys import TEXT, TEXT_2, UNET

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"
_KINDS = ("LORA", "LOHA", "LOKR")  # of peft's adapters, those that are read
_MAX_PATTERNS = 50_000
_DEEPEST = 30  # parts of a layer's path; SDXL's have up to 12, and a prefix


class AdapterSettings:
    """What scales a file's layers when the file has no alphas as tensors.

    `config` has keys `<component>.<field>`; `where` names its origin for messages, and begins each of them.
    """

    def __init__(self, config: dict[str, Any], where: str) -> None:
        self._config, self._where = config, where
        self._alphas: dict[str, dict[str, tuple[int, Any]]] = {}  # component -> pattern -> its place and alpha
        self.dora = {
            key.removesuffix(".use_dora") for key, value in config.items() if key.endswith(".use_dora") and value
        }
        for key, value in config.items():
            if key.endswith(".alpha_pattern") and value:
                self._alphas[key.removesuffix(".alpha_pattern")] = self._index(value)

    def _index(self, patterns: Any) -> dict[str, tuple[int, Any]]:
        if not isinstance(patterns, dict):
            raise ModelFileError(f"{self._where} has an alpha_pattern that is no JSON object.")
        if len(patterns) > _MAX_PATTERNS:
            raise ModelFileError(f"{self._where} has {len(patterns):,} alpha_patterns: no LoRA has so many layers.")
        for pattern in patterns:
            plain = pattern.replace(".", "").replace("_", "").isalnum()  # peft takes regular expressions here
            if not plain or pattern.count(".") >= _DEEPEST:
                raise ModelFileError(f"{self._where} has an alpha_pattern that is no layer's path: {short(pattern)}.")
        return {pattern: (place, alpha) for place, (pattern, alpha) in enumerate(patterns.items())}

    def alpha(self, component: str, path: str, rank: int) -> float:
        """Return the alpha of a layer, so that alpha / rank is what peft multiplies by; `rank` when none is given.

        `path` is the layer's key without its ending. Raises ModelFileError for what is no usable number.
        """
        value = self._of_path(component, path, self._field(component, rank, "lora_alpha", "alpha"))
        if self._config.get(f"{component}.use_rslora"):  # scaled by alpha / sqrt(rank), arXiv 2312.03732
            value = value * math.sqrt(rank)
        return value

    def whole_scale(self, component: str, path: str) -> float:
        """Return what peft scales a LoKr of whole factors by, alpha / r; 1 where there are no settings."""
        rank = self._field(component, 0, "r")
        if not isinstance(rank, int) or rank <= 0:
            return 1.0
        return self._of_path(component, path, self._field(component, rank, "lora_alpha", "alpha")) / rank

    def _field(self, component: str, default: Any, *names: str) -> Any:
        return next((self._config[key] for n in names if (key := f"{component}.{n}") in self._config), default)

    def _of_path(self, component: str, path: str, value: Any) -> float:
        """Return the alpha of a path by `alpha_pattern`, else `value`; checked."""
        patterns = self._alphas.get(component, {})
        parts = path.rsplit(".", _DEEPEST)
        ends = {".".join(parts[i:]) for i in range(len(parts))}
        if found := [patterns[end] for end in ends & patterns.keys()]:
            value = min(found, key=lambda one: one[0])[1]  # of several peft takes the first
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelFileError(f"{self._where} has an alpha that is no number: {short(str(value))}.")
        if not abs(value) <= 1e30:
            raise ModelFileError(f"{self._where} has an alpha that is out of range: {short(str(value))}.")
        return float(value)


def adapter_settings(path: Path, metadata: dict[str, str]) -> AdapterSettings:
    """Read the settings of a LoRA file: from its metadata, or from the `adapter_config.json` of a peft folder.

    Only a file called `adapter_model.safetensors` has a config beside it: in a folder of many LoRAs a config
    belongs to none of the others. Raises ModelFileError for settings that cannot be read.
    """
    text = metadata.get("lora_adapter_metadata")
    if text:
        return AdapterSettings(_from_metadata(text, path.name), f"{path.name} in its metadata")
    beside = path.parent / ADAPTER_CONFIG
    if path.name == ADAPTER_FILE and (beside.exists() or beside.is_symlink()):
        return AdapterSettings(_from_folder(beside), f"{ADAPTER_CONFIG} beside {path.name}")
    return AdapterSettings({}, path.name)


def _from_metadata(text: str, file: str) -> dict[str, Any]:
    try:
        config = parse_json(text)
    except ValueError as e:
        raise ModelFileError(f"{file} has adapter metadata that cannot be read as JSON: {str(e)[:200]}.") from e
    if not isinstance(config, dict):
        raise ModelFileError(f"{file} has adapter metadata that is no JSON object.")
    return config


def _from_folder(path: Path) -> dict[str, Any]:
    """Read a peft config as `<component>.<field>`; it is for all components that its file has."""
    config = read_json(path)
    kind = config.get("peft_type", "LORA")
    if kind not in _KINDS:
        raise ModelFileError(
            f"{ADAPTER_CONFIG} in {path.parent.name} is for an adapter of the kind {short(str(kind))}. Of peft's "
            f"adapters only {', '.join(_KINDS)} load."
        )
    return {f"{component}.{field}": value for component in (UNET, TEXT, TEXT_2) for field, value in config.items()}
