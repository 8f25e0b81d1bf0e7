"""What a reward says of prompts that it does not read whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def cut_remarks(tokenizer: Callable[..., Any], prompts: Sequence[str], limit: int, pieces: str) -> list[str]:
    """A line for each prompt of more than `limit` token ids, its two marks included: how much of it is read.

    `pieces` is what the tokenizer's ids are called.
    """
    lines = []
    for prompt in prompts:
        ids = tokenizer(prompt).input_ids
        if len(ids) > limit:
            kept = tokenizer.decode(ids[limit - 4 : limit - 1])
            lines.append(
                f"only the first {limit - 2} of the {len(ids) - 2} {pieces} of a prompt are read, "
                f"up to {kept!r}: {prompt[:60]!r}..."
            )
    return lines
