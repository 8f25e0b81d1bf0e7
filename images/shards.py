"""WebDataset shards: tar files in which the files of one sample follow each other and share a name up to its first dot.

    000123.jpg 000123.txt 000124.jpg 000124.json ...

Nothing is unpacked to disk, and of links, devices and folders in a shard nothing is read.
"""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InputError
from ..core.files import open_regular, parse_json
from ..core.texts import check_prompts
from .decode import ENDINGS, PictureError
from .encoded import EncodedFile, EncodedPictures, read_encoded
from .folder import printable
from .limits import MAX_PICTURE_BYTES, MAX_SIDECAR_BYTES
from .png import PngError
from .prompts import SHEET_KEY, Found, caption, find_prompt

PIECE_PICTURES, PIECE_BYTES = 256, 2**27  # held in memory together
_CAPTIONS = ("prompt", "caption", "text")  # keys of a .json member, the first that is there


class Piece(NamedTuple):
    """Some pictures of a shard, in its order.

    Attributes:
        pictures: N pictures whose files are in memory.
        prompts: N texts, empty where there is none.
        seeds: N seeds, None where unknown.
        broken: (name, why) of members that cannot be used.
    """

    pictures: EncodedPictures
    prompts: tuple[str, ...]
    seeds: tuple[int | None, ...]
    broken: tuple[tuple[str, str], ...]


def read_shard(
    path: Path, *, prompts_from: str = "auto", default_prompt: str = "", only: Collection[str] | None = None
) -> Iterator[Piece]:
    """Read a shard piece by piece, so that memory does not grow with it.

    Args:
        path: a plain .tar file.
        prompts_from: `"metadata"` inside the pictures; `"txt"`, the sample's .txt or .json member; `"auto"`, that where
            there is one, else the metadata; `"none"`.
        default_prompt: for pictures that have none of their own.
        only: names of members; others are passed over.

    A shard that is cut off or no tar ends with a piece whose `broken` says so. Raises InputError where it cannot be
    opened.
    """
    held: list[tuple[EncodedFile, str, int | None]] = []
    broken: list[tuple[str, str]] = []
    for name, why, sample in _samples(path, only):
        if why:
            broken.append((name, why))
            continue
        try:
            file, texts = read_encoded(name, sample[name])
        except (PictureError, PngError) as e:
            broken.append((name, str(e)))
            continue
        if SHEET_KEY in texts:
            continue
        found = Found("", None, "") if prompts_from == "none" else _prompt(sample, texts, prompts_from)
        held.append((file, found.prompt or default_prompt, found.seed))
        if len(held) >= PIECE_PICTURES or sum(len(one.data) for one, _, _ in held) >= PIECE_BYTES:
            yield _piece(held, broken)
            held, broken = [], []
    if held or broken:
        yield _piece(held, broken)


def _piece(held: list[tuple[EncodedFile, str, int | None]], broken: list[tuple[str, str]]) -> Piece:
    files, prompts, seeds = zip(*held, strict=True) if held else ((), (), ())
    return Piece(EncodedPictures(files), prompts, seeds, tuple(broken))


def _samples(path: Path, only: Collection[str] | None) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    """Yield (a picture's name, why it cannot be used, the members of its sample: name -> bytes)."""
    stem, members = "", dict[str, bytes]()
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r|") as shard:
            for member in shard:
                if not member.isfile():
                    continue
                name = printable(member.name)
                own = _stem(name)
                if own != stem:
                    yield from _pictures(members)
                    stem, members = own, {}
                is_picture = name.lower().endswith(ENDINGS)
                if not (is_picture or name.lower().endswith((".txt", ".json"))) or (is_picture and _left(name, only)):
                    continue
                if member.size > (MAX_PICTURE_BYTES if is_picture else MAX_SIDECAR_BYTES):
                    if is_picture:
                        yield name, f"has {member.size:,} bytes, over the limit of {MAX_PICTURE_BYTES:,}", {}
                    continue
                content = shard.extractfile(member)
                members[name] = content.read() if content is not None else b""
            yield from _pictures(members)
    except tarfile.TarError as e:
        yield path.name, f"is no whole tar file ({str(e)[:120]}); what stood before was read", {}
    except OSError as e:
        raise InputError("pictures", path.name, f"The shard cannot be read ({e.strerror or e}).") from e


def _left(name: str, only: Collection[str] | None) -> bool:
    return only is not None and name not in only


def _stem(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


def _pictures(members: dict[str, bytes]) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    for name in members:
        if name.lower().endswith(ENDINGS):
            yield name, "", members


def _prompt(sample: dict[str, bytes], texts: dict[str, str], prompts_from: str) -> Found:
    if prompts_from in ("auto", "txt"):
        for name, data in sample.items():
            found = _beside(name.lower(), data)
            if found is not None:
                return found
    return Found("", None, "") if prompts_from == "txt" else find_prompt(texts)


def _beside(name: str, data: bytes) -> Found | None:
    """Read a caption from a member beside a picture; None where it holds none."""
    try:
        if name.endswith(".txt"):
            return caption(data.decode("utf-8-sig"))
        return _record(parse_json(data)) if name.endswith(".json") else None
    except (ValueError, InputError):
        return None


def _record(content: object) -> Found | None:
    if not isinstance(content, dict):
        return None
    text = next((content[key] for key in _CAPTIONS if isinstance(content.get(key), str)), None)
    if text is None:
        return None
    check_prompts([text])
    seed = content.get("seed")
    return Found(text, seed if type(seed) is int and 0 <= seed < 2**64 else None, "")
