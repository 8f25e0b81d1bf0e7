"""The models that ship with the pack, under `assets/`."""

from __future__ import annotations

from pathlib import Path

EMBEDDED_MODELS = ("tiny-sdxl", "tiny-ddpm")
EMBEDDED_REWARDS = ("tiny-imagereward",)
_TOKENIZERS = ("clip-tokenizer", "bert-tokenizer")


def asset_folder(name: str) -> Path:
    """The folder of an embedded model or tokenizer. Raises KeyError for a name that is none."""
    if name not in (*EMBEDDED_MODELS, *EMBEDDED_REWARDS, *_TOKENIZERS):
        raise KeyError(name)
    return Path(__file__).resolve().parent.parent / "assets" / name
