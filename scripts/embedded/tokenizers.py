"""Tokenizer files for the embedded models: real formats, vocabularies of a world's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"


def byte_alphabet() -> list[str]:
    """Return the 256 printable stand-ins for bytes that GPT-2's byte-level BPE uses, in CLIP's order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [chr(256 + i) for i in range(256 - len(plain))]
    return [chr(b) for b in plain] + moved


def _apply(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Merge the pair of lowest rank until none is left: what a BPE tokenizer does."""
    while True:
        pairs = [p for p in zip(symbols, symbols[1:], strict=False) if p in ranks]
        if not pairs:
            return symbols
        left, right = min(pairs, key=ranks.__getitem__)
        merged, i = [], 0
        while i < len(symbols):
            if symbols[i : i + 2] == [left, right]:
                merged.append(left + right)
                i += 2
            else:
                merged.append(symbols[i])
                i += 1
        symbols = merged


def bpe_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return merges under which each word is one token. Later merges rank lower: they undo no earlier one."""
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        symbols = _apply([*word[:-1], word[-1] + "</w>"], ranks)
        while len(symbols) > 1:
            ranks[(symbols[0], symbols[1])] = len(ranks)
            symbols = [symbols[0] + symbols[1], *symbols[2:]]
    return list(ranks)


def clip_vocabulary(words: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(vocabulary, merges) in CLIP's order: bytes, bytes that end a word, merges, start, end."""
    alphabet = byte_alphabet()
    merges = bpe_merges(words)
    tokens = [*alphabet, *(c + "</w>" for c in alphabet), *("".join(m) for m in merges)]
    return {token: i for i, token in enumerate([*tokens, START, END])}, merges


def write_clip_tokenizer(folder: Path, words: Sequence[str], *, pad_token: str) -> None:
    """Write vocab.json, merges.txt and their configs. SDXL pads with the end token, then with `!`."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = clip_vocabulary(words)
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "pad_token": pad_token, "unk_token": END}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    for name, content in {
        "special_tokens_map.json": special,
        "tokenizer_config.json": {"add_prefix_space": False, "errors": "replace"} | settings | special,
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_bert_vocabulary(folder: Path, words: Sequence[str]) -> int:
    """Write vocab.txt: letters, word pieces and the world's words, then BLIP's two. Its length."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    tokens += ["##" + c for c in letters] + [w for w in words if len(w) > 1]
    tokens += ["[DEC]", "[ENC]"]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return len(tokens)
