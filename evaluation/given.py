"""Finished pictures in the prompts' order, and the name of the folder that an evaluation of them has to itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ..core.errors import InputError
from ..images.pictures import Pictures
from .layouts import PromptRow
from .sources import Source, finished_names


def in_prompt_order(pictures: Pictures, rows: Sequence[PromptRow], each: int) -> Pictures:
    """Return finished pictures in the order of a protocol's prompts: files by their names, a batch as it is.

    Raises InputError where a prompt has no file: its pictures would stand beside other prompts.
    """
    listed = [pictures.listed(i) for i in range(len(pictures))]
    if None in listed:
        return pictures
    places = {file.name: i for i, file in enumerate(listed) if file is not None}
    names = finished_names(rows, each, places.__contains__)
    missing = [name for name in names if name not in places]
    if missing:
        row = rows[names.index(missing[0]) // each]
        raise InputError(
            "images",
            f"no file for prompt {row.id} ({len(missing):,} in all)",
            "Name the files as the protocol does (its id, or category/id), or by number: 000000.png and so on.",
        )
    return pictures.rows([places[name] for name in names])


def digest(rows: Sequence[PromptRow], source: Source) -> str:
    """Return a folder's name that other prompts, settings or pictures do not share: each has a run of its own."""
    text = json.dumps([[list(row[:3]) for row in rows], len(source), source.identity()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
