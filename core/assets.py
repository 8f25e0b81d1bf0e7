"""The models that ship with the pack, under `assets/`."""

from __future__ import annotations

from pathlib import Path

EMBEDDED_MODELS = ("tiny-sdxl", "tiny-ddpm")
EMBEDDED_REWARDS = ("tiny-imagereward", "tiny-aesthetic")
_TOKENIZERS = ("clip-tokenizer", "bert-tokenizer")
_PAGE = "page"  # the parts of a ranking as an HTML file


def asset_folder(name: str) -> Path:
    """Return the folder of an embedded model, a tokenizer or the page's parts. Raises KeyError for other names."""
    if name not in (*EMBEDDED_MODELS, *EMBEDDED_REWARDS, *_TOKENIZERS, _PAGE):
        raise KeyError(name)
    return Path(__file__).resolve().parent.parent / "assets" / name
