"""Prompts to token ids, cut where the references cut them, and what to say of a prompt that is not read whole.

Legend: B texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...core.assets import asset_folder
from ...loaders.folder.tokenizer import clip_tokenizer
from . import _clean_text

BERT_TOKENS, CLIP_TOKENS = 35, 77  # of a text, its two marks included
CLIP_VOCABULARY = 49_408
_BLIP_TOKENS = ("[DEC]", "[ENC]")


@dataclass(frozen=True)
class TextReader:
    """A tokenizer, and how much of a text its network reads.

    Attributes:
        tokenizer: transformers'.
        limit: how many token ids of a text are read, its two marks included.
        pieces: what its tokens are called.
        padding: `"max_length"` or `"longest"`, as transformers' tokenizers take it.
        cleaned: texts are cleaned first, as OpenAI's and open_clip's code does and transformers' does not.
    """

    tokenizer: Any
    limit: int
    pieces: str
    padding: str
    cleaned: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """What decides how texts are read, for a reward's fingerprint."""
        return (f"texts cleaned {'with' if _clean_text.has_ftfy() else 'without'} ftfy",) if self.cleaned else ()

    def __call__(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokenize B texts: ids and mask, (B, L) each. Longer texts are cut and end in the end's mark."""
        batch = self.tokenizer(
            [self._cleaned(prompt) for prompt in prompts],
            padding=self.padding,
            max_length=self.limit,
            truncation=True,
            return_tensors="pt",
        )
        return batch.input_ids, batch.attention_mask

    def overflow(self, prompt: str) -> list[str]:
        """Return what to say of a prompt that is cut, or that ftfy might clean otherwise; nothing of any other."""
        said = []
        ids = self.tokenizer(self._cleaned(prompt)).input_ids
        if len(ids) > self.limit:
            last = self.tokenizer.decode(ids[self.limit - 4 : self.limit - 1])
            said.append(
                f"only the first {self.limit - 2} of the {len(ids) - 2} {self.pieces} of a prompt are read, "
                f"up to {last!r}: {prompt[:60]!r}..."
            )
        if self.cleaned and not _clean_text.has_ftfy() and _clean_text.misread(prompt):
            said.append(
                "a prompt looks as if it was read in a wrong encoding; install ftfy to read it as CLIP's own code "
                f"does: {prompt[:60]!r}..."
            )
        return said

    def _cleaned(self, prompt: str) -> str:
        return _clean_text.clean(prompt) if self.cleaned else prompt


def bert_texts(folder: Path | None = None) -> TextReader:
    """Return how BLIP and ImageReward read texts: BERT's word pieces, lower-cased, padded to 35.

    `folder` holds a `vocab.txt`; None is bert-base-uncased's, which ships with the pack, with BLIP's two tokens added.
    """
    from transformers import BertTokenizer

    place = str(folder or asset_folder("bert-tokenizer"))
    tokenizer = BertTokenizer.from_pretrained(place, local_files_only=True, do_lower_case=True)
    if folder is None:
        tokenizer.add_tokens(list(_BLIP_TOKENS), special_tokens=True)
    return TextReader(tokenizer, BERT_TOKENS, "word pieces", "max_length")


def clip_texts(*, cleaned: bool) -> TextReader:
    """Return how CLIP reads texts, by the tokenizer that ships with the pack."""
    tokenizer = clip_tokenizer(asset_folder("clip-tokenizer"), CLIP_VOCABULARY)
    return TextReader(tokenizer, CLIP_TOKENS, "tokens", "longest", cleaned)
