"""A taste's file: safetensors of some KB, so that a taste can be kept, shared and continued. Nothing in it runs.

Answers lie one below the other: their features in one tensor, how many pictures each grid has in another; ids, picks
and kinds are JSON in the file's notes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError, ModelFileError
from ..core.files import own_folder, parse_json, unwritable, write_atomic
from ..loaders.formats.header import read_header
from ..loaders.formats.weights import read_safetensors
from .attributes import ATTRIBUTES
from .clicks import parse_clicks
from .features import Recipe
from .taste import Answer, Taste

VERSION = "1"
MAX_BYTES = 64 * 2**20
_TENSORS = (
    *("attribute_mean", "attribute_std", "centre", "directions", "reward_mean", "reward_std"),
    *("answers", "sizes", "weights"),
)


def write_taste(taste: Taste, path: Path) -> None:
    """Write a taste, atomically. Raises InputError where it cannot be written; the old file is then as it was."""
    from safetensors.torch import save

    recipe, width = taste.recipe, len(taste.recipe.names)
    rows = [answer.features for answer in taste.answers]
    tensors = {
        "attribute_mean": recipe.attribute_mean,
        "attribute_std": recipe.attribute_std,
        "centre": recipe.centre,
        "directions": recipe.directions,
        "reward_mean": recipe.reward_mean,
        "reward_std": recipe.reward_std,
        "answers": torch.cat(rows) if rows else torch.zeros(0, width),
        "sizes": torch.tensor([len(one) for one in rows], dtype=torch.int64),
        "weights": torch.from_numpy(taste.posterior.mean),  # for other programs: it is computed anew when read
    }
    clicks = [[list(c.shown), c.picked, c.kind, c.at] for c in (answer.click for answer in taste.answers)]
    notes = {
        "tastemaker_taste": VERSION,
        "name": taste.name,
        "names": json.dumps(recipe.names),
        "encoder": json.dumps(taste.encoder),
        "crowd": json.dumps(dict(taste.crowd)),
        "clicks": json.dumps({"version": 1, "clicks": clicks}) if clicks else "",
    }
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=notes)
    try:
        own_folder(path.parent)
        write_atomic(path, data)
    except OSError as e:
        raise InputError("name", taste.name, f"The taste cannot be saved ({unwritable(e)}). No click is lost.") from e


def read_taste(path: Path) -> Taste:
    """Read a taste. Raises ModelFileError for what is none, or a damaged one: the file may come from anybody."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"{path.name} is larger than 64 MiB: no taste is.")
    except OSError as e:
        raise ModelFileError(f"{path.name} cannot be read ({unwritable(e)}).") from e
    notes = read_header(path).notes
    if notes.get("tastemaker_taste") != VERSION:
        raise ModelFileError(
            f"{path.name} is no taste of this version of Tastemaker. Pick a file that Learn Taste wrote."
        )
    try:
        with torch.inference_mode(False):  # a host may read it inside, and gradients go through what it holds
            return _taste(notes, read_safetensors(path))
    except (InputError, KeyError, TypeError, ValueError, IndexError) as e:
        raise ModelFileError(
            f"{path.name} is a damaged taste ({str(e)[:100]}). Put a copy of it in its place, or begin a new taste "
            "under another name."
        ) from e


def _taste(notes: dict[str, str], tensors: dict[str, torch.Tensor]) -> Taste:
    missing = [name for name in _TENSORS if name not in tensors]
    if missing:
        raise ValueError(f"no {missing[0]}")
    names = _texts(parse_json(notes["names"]))
    encoder, crowd = _texts(parse_json(notes["encoder"])), parse_json(notes["crowd"])
    width, kinds, looks = len(names), len(ATTRIBUTES), len(tensors["directions"].T)
    rewards = width - kinds - looks
    if not isinstance(crowd, dict) or list(crowd) != list(names[kinds + looks :]) or len(encoder) != 2:
        raise ValueError("its rewards do not fit")
    _texts(list(crowd.values()))
    if names[:kinds] != tuple(ATTRIBUTES):
        raise ValueError("its attributes are others")
    shapes = {
        "attribute_mean": (kinds,),
        "attribute_std": (kinds,),
        "centre": (len(tensors["directions"]),),
        "directions": (len(tensors["directions"]), looks),
        "reward_mean": (rewards,),
        "reward_std": (rewards,),
        "answers": (int(tensors["sizes"].sum()), width),
    }
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} is of another shape or no number")
    if not all(bool((tensors[name] > 0).all()) for name in ("attribute_std", "reward_std")):
        raise ValueError("a spread is not above 0")
    clicks = parse_clicks(notes["clicks"])
    sizes = tensors["sizes"].tolist()
    if [len(click.shown) for click in clicks] != sizes:
        raise ValueError("its clicks do not fit its answers")
    answers = tuple(map(Answer, clicks, tensors["answers"].split(sizes)))
    recipe = Recipe(names, *(tensors[name] for name in _TENSORS[:6]))
    return Taste(str(notes["name"])[:64], recipe, answers, (encoder[0], encoder[1]), crowd)


def _texts(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(one, str) and len(one) <= 200 for one in found):
        raise ValueError("a list of texts is none")
    return tuple(found)
