"""Prompt weights, `(word:1.2)`, with the grammar of ComfyUI's own text encoders.

`(words)` weighs 1.1 times what stands around it, `(words:1.3)` exactly 1.3; groups nest; `\\(` and
`\\)` are plain parentheses. Parentheses that do not pair up are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from ..core.errors import InputError

EMPHASIS = 1.1
_MAX_DEPTH = 50
_EMBEDDING = re.compile(r"(?:^|[ \n])embedding:")
_ESCAPES = (("\\)", "\0\1", ")"), ("\\(", "\0\2", "("))  # as typed, while parsing, as read


class Weighted(NamedTuple):
    """A run of text and how much it counts; 1 is plain."""

    text: str
    weight: float


def parse_weights(prompt: str, name: str = "prompts") -> list[Weighted]:
    """Split a prompt into runs of one weight each, in order; an empty prompt has none.

    Raises InputError for weights that are not finite, nesting deeper than 50, and textual-inversion
    embeddings, which are not read here; `name` is the input they came from.
    """
    for typed, marked, _ in _ESCAPES:
        prompt = prompt.replace(typed, marked)
    runs = []
    for text, weight in _weighted(prompt, 1.0, 0, name):
        for _, marked, read in _ESCAPES:
            text = text.replace(marked, read)
        if _EMBEDDING.search(text):
            raise InputError(name, text, "Textual-inversion embeddings (embedding:name) are not supported.")
        if text:
            runs.append(Weighted(text, weight))
    return runs


def _weighted(text: str, weight: float, depth: int, name: str) -> Iterator[Weighted]:
    if depth > _MAX_DEPTH:
        raise InputError(name, text, f"Parentheses may nest at most {_MAX_DEPTH} deep.")
    for piece in _pieces(text):
        if len(piece) < 2 or piece[0] != "(" or piece[-1] != ")":
            yield Weighted(piece, weight)
            continue
        inside, own = piece[1:-1], weight * EMPHASIS
        words, colon, number = inside.rpartition(":")
        stated = _number(number, name) if colon and words else None
        yield from (
            _weighted(inside, own, depth + 1, name) if stated is None else _weighted(words, stated, depth + 1, name)
        )


def _pieces(text: str) -> Iterator[str]:
    """Outermost groups, parentheses included, and the text between them."""
    depth = start = 0
    for i, character in enumerate(text):
        if character == "(":
            if depth == 0 and i > start:
                yield text[start:i]
                start = i
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                yield text[start : i + 1]
                start = i + 1
    if start < len(text):
        yield text[start:]


def _number(text: str, name: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        raise InputError(name, text, "A prompt weight must be a finite number.")
    return value
