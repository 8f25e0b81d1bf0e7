"""BLIP's and ImageReward's texts: BERT's word pieces, cut where the references cut them, and said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...core.assets import asset_folder
from . import remarks

if TYPE_CHECKING:
    from transformers import BertTokenizer

MAX_TOKENS = 35
OFFICIAL_VOCABULARY = 30_524  # bert-base-uncased's 30,522 and BLIP's own two
_BLIP_TOKENS = ("[DEC]", "[ENC]")


def load_tokenizer(folder: Path) -> BertTokenizer:
    """The BERT tokenizer of a folder's `vocab.txt`, lower-casing, as the reference makes it."""
    from transformers import BertTokenizer

    return BertTokenizer.from_pretrained(str(folder), local_files_only=True, do_lower_case=True)


def official_tokenizer() -> BertTokenizer:
    """bert-base-uncased's, which ships with the pack, with BLIP's two tokens behind its own."""
    tokenizer = load_tokenizer(asset_folder("bert-tokenizer"))
    tokenizer.add_tokens(list(_BLIP_TOKENS), special_tokens=True)
    return tokenizer


def tokenize(tokenizer: BertTokenizer, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (B, 35) each; longer texts are cut there and end in `[SEP]`, as in the reference."""
    batch = tokenizer(list(prompts), padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask


def cut_remarks(tokenizer: BertTokenizer, prompts: Sequence[str]) -> list[str]:
    """A line for each prompt that `tokenize` cuts: how much of it is read."""
    return remarks.cut_remarks(tokenizer, prompts, MAX_TOKENS, "word pieces")
